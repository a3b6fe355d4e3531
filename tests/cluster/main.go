// Command cluster starts one component of a real Kubernetes control plane, chosen by its first argument. The components are
// linked as libraries, so that the tests need no downloaded binaries: one program is all four.
//
//	cluster etcd --data-dir DIR --listen-client-urls URL --advertise-client-urls URL --listen-peer-urls URL
//	cluster kube-apiserver|kube-controller-manager|kubectl ARGUMENTS...
//
// Called by the name of a component (a symbolic link, as in a folder for KUBEBUILDER_ASSETS), it is that component.
package main

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	component := filepath.Base(os.Args[0])
	if !isComponent(component) && len(os.Args) > 1 {
		component = os.Args[1]
		os.Args = append([]string{component}, os.Args[2:]...)
	}
	os.Exit(run(component))
}

func isComponent(name string) bool {
	switch name {
	case "etcd", "kube-apiserver", "kube-controller-manager", "kubectl":
		return true
	}
	return false
}

// run starts the component with os.Args and returns the exit status once it has ended.
func run(component string) int {
	var command *cobra.Command
	switch component {
	case "etcd":
		return runEtcd(os.Args[1:])
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kubectl":
		command = cmd.NewDefaultKubectlCommand()
	default:
		fmt.Fprintf(os.Stderr, "cluster: no component %q: want etcd, kube-apiserver, kube-controller-manager or kubectl\n", component)
		return 2
	}
	return cli.Run(command)
}

// runEtcd serves until it is told to end. It takes the few flags of etcd that the harness uses, under etcd's own names.
func runEtcd(arguments []string) int {
	flags := flag.NewFlagSet("etcd", flag.ExitOnError)
	directory := flags.String("data-dir", "", "folder of the data")
	listen := flags.String("listen-client-urls", "", "URL to serve clients at")
	advertise := flags.String("advertise-client-urls", "", "URL that clients use")
	peers := flags.String("listen-peer-urls", "", "URL for other members; there are none, yet etcd wants one")
	unsafe := flags.Bool("unsafe-no-fsync", false, "do not wait for the disk")
	logLevel := flags.String("log-level", "error", "debug, info, warn or error")
	_ = flags.Parse(arguments)

	config := embed.NewConfig()
	config.Dir, config.UnsafeNoFsync, config.LogLevel = *directory, *unsafe, *logLevel
	for _, address := range []struct {
		text string
		into []*[]url.URL
	}{
		{*listen, []*[]url.URL{&config.ListenClientUrls}},
		{*advertise, []*[]url.URL{&config.AdvertiseClientUrls}},
		{*peers, []*[]url.URL{&config.ListenPeerUrls, &config.AdvertisePeerUrls}},
	} {
		parsed, err := url.Parse(address.text)
		if err != nil {
			return fail(err)
		}
		for _, field := range address.into {
			*field = []url.URL{*parsed}
		}
	}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	member, err := embed.StartEtcd(config)
	if err != nil {
		return fail(err)
	}
	defer member.Close()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-ended:
		return 0
	case err := <-member.Err():
		return fail(err)
	}
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "etcd:", err)
	return 1
}
