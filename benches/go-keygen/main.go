// Generates keys with Go's standard library, and with openssl, for benches/keygen.rs to compare with.
//
// Each line of the standard input is a generator (go or openssl), an algorithm, a size in bits and a number of keys. The answer
// is how many nanoseconds of processor time one of them took.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// threadTime is the processor time of this thread, without the garbage collector's. Getrusage would leave out what has passed
// since the last tick of the kernel's clock.
func threadTime() time.Duration {
	// Linux: CLOCK_THREAD_CPUTIME_ID.
	const clock = 3
	var now syscall.Timespec
	if _, _, err := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&now)), 0); err != 0 {
		log.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// library generates a key with Go's standard library.
func library(algorithm string, bits int) error {
	var err error
	switch {
	case algorithm == "RSA":
		_, err = rsa.GenerateKey(rand.Reader, bits)
	case algorithm == "Ed25519":
		_, _, err = ed25519.GenerateKey(rand.Reader)
	case bits == 256:
		_, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case bits == 384:
		_, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		_, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	}
	return err
}

// options are the arguments of openssl genpkey.
func options(algorithm string, bits int) []string {
	switch algorithm {
	case "RSA":
		return []string{"-algorithm", "RSA", "-pkeyopt", fmt.Sprintf("rsa_keygen_bits:%d", bits)}
	case "Ed25519":
		return []string{"-algorithm", "ED25519"}
	default:
		return []string{"-algorithm", "EC", "-pkeyopt", fmt.Sprintf("ec_paramgen_curve:P-%d", bits)}
	}
}

// generate generates a key and returns the processor time that it took.
func generate(generator, algorithm string, bits int) (time.Duration, error) {
	switch generator {
	case "go":
		begun := threadTime()
		err := library(algorithm, bits)
		return threadTime() - begun, err
	case "openssl":
		command := exec.Command("openssl", append([]string{"genpkey", "-quiet"}, options(algorithm, bits)...)...)
		if _, err := command.Output(); err != nil {
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
		var generator, algorithm string
		var bits, number int
		if _, err := fmt.Sscan(lines.Text(), &generator, &algorithm, &bits, &number); err != nil {
			log.Fatal(err)
		}
		var took time.Duration
		for range number {
			one, err := generate(generator, algorithm, bits)
			if err != nil {
				log.Fatal(err)
			}
			took += one
		}
		fmt.Println(took.Nanoseconds() / int64(number))
	}
}
