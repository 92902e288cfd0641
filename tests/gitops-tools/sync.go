package main

import (
	"flag"
	"fmt"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	engine "github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// The name under which Argo CD applies.
	manager = "argocd-controller"
	// How long Argo CD lets controllers look at what a wave brought, before it asks whether that is healthy.
	pauseAfterWave = 2 * time.Second
	interval       = 500 * time.Millisecond
)

// application is what an Application of Argo CD states: what is to be where, and how it gets there.
type application struct {
	tracking   tracking
	namespace  string
	serverSide bool
	prune      bool
	script     script
	config     *rest.Config
	kubectl    *kube.KubectlCmd
	cluster    cache.ClusterCache
	commit     string
	target     []*unstructured.Unstructured
}

type report struct {
	Commit    string     `json:"commit"`
	Phase     string     `json:"phase,omitempty"`
	Message   string     `json:"message,omitempty"`
	Results   []result   `json:"results,omitempty"`
	Resources []resource `json:"resources"`
}

// result is what became of an object in a sync, in the order in which they were done.
type result struct {
	Object  string `json:"object"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

// resource is an object of the application.
type resource struct {
	Object  string `json:"object"`
	Status  string `json:"status"`
	Prune   bool   `json:"prune"`
	Health  string `json:"health"`
	Message string `json:"message"`
}

func sync(apply bool, args []string) (*report, error) {
	flags := flag.NewFlagSet("sync", flag.ExitOnError)
	var app application
	kubeconfig := flags.String("kubeconfig", "", "where the cluster is")
	repository := flags.String("repository", "", "where the git repository is")
	healthScript := flags.String("health", "", "the health script for KeyPairs")
	timeout := flags.Duration("timeout", time.Minute, "how long a sync may take")
	flags.StringVar(&app.tracking.application, "application", "", "the name of the application")
	flags.BoolVar(&app.tracking.byLabel, "label", false, "track by label, not by annotation")
	flags.StringVar(&app.namespace, "namespace", "default", "the namespace of objects that name none")
	flags.BoolVar(&app.serverSide, "server-side", false, "apply and compare on the server's side")
	flags.BoolVar(&app.prune, "prune", false, "delete what is no longer in git")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	var err error
	if app.script, err = readScript(*healthScript); err != nil {
		return nil, err
	}
	if app.target, app.commit, err = checkOut(*repository); err != nil {
		return nil, err
	}
	if app.config, err = clientcmd.BuildConfigFromFlags("", *kubeconfig); err != nil {
		return nil, err
	}
	// It is alone with the cluster; and what the cluster warns of is its business.
	app.config.QPS = -1
	app.config.WarningHandler = rest.NoWarnings{}
	if err := app.connect(); err != nil {
		return nil, err
	}
	defer app.cluster.Invalidate()
	report := &report{Commit: app.commit}
	if apply {
		if err := app.sync(*timeout, report); err != nil {
			return nil, err
		}
	}
	report.Resources, err = app.resources()
	return report, err
}

func (app *application) connect() error {
	app.kubectl = &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	app.cluster = cache.NewClusterCache(app.config,
		cache.SetKubectl(app.kubectl),
		cache.SetLogr(logr.Discard()),
		cache.SetPopulateResourceInfoHandler(func(object *unstructured.Unstructured, _ bool) (any, bool) {
			is := app.tracking.names(object)
			return is, is
		}),
	)
	if err := app.cluster.EnsureSynced(); err != nil {
		return err
	}
	for _, object := range app.target {
		if !kube.IsNamespacedOrUnknown(app.cluster, object.GroupVersionKind().GroupKind()) {
			object.SetNamespace("")
		} else if object.GetNamespace() == "" {
			object.SetNamespace(app.namespace)
		}
		app.tracking.mark(object)
	}
	return nil
}

// compare pairs what is in git with what is in the cluster.
func (app *application) compare() (engine.ReconciliationResult, error) {
	live, err := app.cluster.GetManagedLiveObjs(app.target, func(object *cache.Resource) bool {
		is, ok := object.Info.(bool)
		return ok && is
	})
	if err != nil {
		return engine.ReconciliationResult{}, err
	}
	return engine.Reconcile(app.target, live, app.namespace, app.cluster), nil
}

// sync takes the engine's steps one by one until there is none left, each with what is in the cluster by then, as Argo CD does.
// (The engine's own loop looks at the cluster once, before the first.)
func (app *application) sync(timeout time.Duration, report *report) error {
	phase, message, results := common.OperationRunning, "", []common.ResourceSyncResult(nil)
	started := metav1.Now()
	deadline := time.Now().Add(timeout)
	for {
		pairs, err := app.compare()
		if err != nil {
			return err
		}
		step, release, err := engine.NewSyncContext(app.commit, pairs, app.config, app.config, app.kubectl, app.namespace,
			engine.WithLogr(logr.Discard()),
			engine.WithHealthOverride(app.script),
			engine.WithInitialState(phase, message, results, started),
			engine.WithResourcesFilter(func(_ kube.ResourceKey, target, live *unstructured.Unstructured) bool {
				return target != nil || app.tracking.owns(live)
			}),
			engine.WithPrune(app.prune),
			engine.WithServerSideApply(app.serverSide),
			engine.WithServerSideApplyManager(manager),
			engine.WithSyncWaveHook(func(_ common.SyncPhase, _ int, final bool) error {
				if !final {
					time.Sleep(pauseAfterWave)
				}
				return nil
			}),
		)
		if err != nil {
			return err
		}
		step.Sync()
		phase, message, results = step.GetState()
		release()
		if phase.Completed() || time.Now().After(deadline) {
			break
		}
		time.Sleep(interval)
	}
	report.Phase, report.Message = string(phase), message
	for _, done := range results {
		key := done.ResourceKey
		// The engine gives one to objects that have none, too.
		if !kube.IsNamespacedOrUnknown(app.cluster, key.GroupKind()) {
			key.Namespace = ""
		}
		report.Results = append(report.Results, result{name(key), string(done.Status), done.Message})
	}
	return nil
}

// resources compares again, in the way Argo CD would with these options, and asks for the health.
func (app *application) resources() ([]resource, error) {
	// What the last step wrote has to come back first.
	app.cluster.Invalidate()
	if err := app.cluster.EnsureSynced(); err != nil {
		return nil, err
	}
	pairs, err := app.compare()
	if err != nil {
		return nil, err
	}
	dryRuns, release, err := app.kubectl.ManageServerSideDiffDryRuns(app.config)
	if err != nil {
		return nil, err
	}
	defer release()
	differences, err := diff.DiffArray(pairs.Target, pairs.Live,
		diff.WithLogr(logr.Discard()),
		diff.WithManager(manager),
		diff.WithGVKParser(app.cluster.GetGVKParser()),
		diff.WithServerSideDiff(app.serverSide),
		diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(dryRuns)),
	)
	if err != nil {
		return nil, err
	}
	var resources []resource
	for index, target := range pairs.Target {
		live := pairs.Live[index]
		if target == nil && !app.tracking.owns(live) {
			continue
		}
		resources = append(resources, app.resource(target, live, differences.Diffs[index].Modified))
	}
	return resources, nil
}

func (app *application) resource(target, live *unstructured.Unstructured, differs bool) resource {
	if live == nil {
		return resource{Object: name(kube.GetResourceKey(target)), Status: "OutOfSync", Health: string(health.HealthStatusMissing)}
	}
	seen := resource{Object: name(kube.GetResourceKey(live)), Status: "Synced", Prune: target == nil}
	if differs || target == nil {
		seen.Status = "OutOfSync"
	}
	// Kinds without a notion of it have none.
	if is, err := health.GetResourceHealth(live, app.script); err != nil {
		seen.Health, seen.Message = string(health.HealthStatusUnknown), err.Error()
	} else if is != nil {
		seen.Health, seen.Message = string(is.Status), is.Message
	}
	return seen
}

func name(key kube.ResourceKey) string {
	if key.Namespace == "" {
		return fmt.Sprintf("%s/%s", key.Kind, key.Name)
	}
	return fmt.Sprintf("%s/%s/%s", key.Kind, key.Namespace, key.Name)
}
