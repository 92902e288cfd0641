// Command controlplane is the Kubernetes control plane that the tests and the demo run against, as one binary that
// chooses its role by the name it is called by, so that etcd, the API server, the controller manager and kubectl need
// to be linked only once. The links beside it have the layout that KUBEBUILDER_ASSETS expects.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJob time zones, without a zone database on the machine.

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	switch role := filepath.Base(os.Args[0]); role {
	case "etcd":
		endWithStdin()
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		endWithStdin()
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		endWithStdin()
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kubectl":
		runKubectl()
	default:
		fmt.Fprintf(os.Stderr, "call this through a link named etcd, kube-apiserver, kube-controller-manager or kubectl, not %q\n", role)
		os.Exit(2)
	}
}

// runKubectl exits with 1 after an error of the command line; kubectl's commands themselves exit when they fail, with
// a code of their own where it means something (kubectl diff).
func runKubectl() {
	// Building the command already logs (plugins, kuberc), before it parses its flags.
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	kubectlutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
}

// endWithStdin makes a server end when its standard input does, if CONTROLPLANE_END_WITH_STDIN is set: whoever started
// it may be killed in a way that leaves it no time to end its children, but the pipe it held is closed all the same.
func endWithStdin() {
	if os.Getenv("CONTROLPLANE_END_WITH_STDIN") == "" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}
