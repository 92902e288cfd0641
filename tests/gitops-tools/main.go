// Does and says what GitOps tools do and say: Argo CD by its own engine, Flux (and kubectl and kpt) by kstatus, the reference
// library.
//
//	gitops-tools health SCRIPT <OBJECTS      the health of a JSON array of objects
//	gitops-tools sync FLAGS                  makes a cluster what a git repository says
//	gitops-tools status FLAGS                compares the two
//
// Each prints JSON. SCRIPT is a health script for Argo CD, in Lua.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

func main() {
	// Watches that end with the program are no news.
	klog.SetLogger(logr.Discard())
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: %s health|sync|status …", os.Args[0])
	}
	var answer any
	var err error
	switch command := args[0]; command {
	case "health":
		answer, err = healthOf(args[1:])
	case "sync", "status":
		answer, err = sync(command == "sync", args[1:])
	default:
		err = fmt.Errorf("there is no command %q", command)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}
