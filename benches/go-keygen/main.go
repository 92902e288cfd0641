// Generates RSA keys with Go's standard library, and with openssl, for benches/keygen.rs to compare with.
//
// Each line of the standard input is a generator, `go` or `openssl`, and a number of bits. The answer is how many nanoseconds
// of processor time one key took.
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// threadTime is the processor time of this thread.
func threadTime() time.Duration {
	// Linux: the calling thread only, without the garbage collector's.
	const rusageThread = 1
	var usage syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func generate(generator string, bits int) (time.Duration, error) {
	switch generator {
	case "go":
		begun := threadTime()
		_, err := rsa.GenerateKey(rand.Reader, bits)
		return threadTime() - begun, err
	case "openssl":
		command := exec.Command("openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", fmt.Sprintf("rsa_keygen_bits:%d", bits))
		_, err := command.Output()
		if err != nil {
			return 0, err
		}
		return command.ProcessState.UserTime() + command.ProcessState.SystemTime(), nil
	default:
		return 0, fmt.Errorf("unknown generator %q", generator)
	}
}

func main() {
	runtime.LockOSThread()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var generator string
		var bits int
		if _, err := fmt.Sscan(lines.Text(), &generator, &bits); err != nil {
			log.Fatal(err)
		}
		took, err := generate(generator, bits)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(took.Nanoseconds())
	}
}
