// Command karpenterbench gives a file of pods to the scheduler of Karpenter and
// prints, as JSON, which machines it would buy and how long it took.
//
// The cluster is empty; instance types, limits and concurrency are those of
// Karpenter's own scheduling benchmark. Only Solve is timed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	clientfake "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/log"

	karpenter "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/fake"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/logging"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

// Karpenter's benchmark runs with these.
const (
	instanceTypes = 400
	threads       = 5
	poolName      = "bench"
)

type machine struct {
	Type string `json:"type"`
	// Millicores and bytes of the machine, without what is reserved on it.
	AllocatableCPU    int64 `json:"allocatableCPU"`
	AllocatableMemory int64 `json:"allocatableMemory"`
	MaxPods           int64 `json:"maxPods"`
	// CPUs and bytes that are paid for.
	CPU    int64   `json:"cpu"`
	Memory int64   `json:"memory"`
	Price  float64 `json:"price"`
	// Zones in which it may be bought at that price; Karpenter leaves the choice open
	// where no rule of a pod needs one.
	Zones []string `json:"zones"`
	Pods  []string `json:"pods"`
}

type result struct {
	// One for each repetition.
	Seconds []float64 `json:"seconds"`
	// Of the last repetition.
	Machines []machine         `json:"machines"`
	Errors   map[string]string `json:"errors"`
	MaxRSS   int64             `json:"maxRSSBytes"`
}

func main() {
	file := flag.String("f", "", "pods, as a List in JSON")
	repeats := flag.Int("repeats", 1, "how often to solve it")
	flag.Parse()
	if err := run(*file, *repeats); err != nil {
		fmt.Fprintf(os.Stderr, "karpenterbench: %v\n", err)
		os.Exit(1)
	}
}

func run(file string, repeats int) error {
	log.SetLogger(logging.NopLogger)
	pods, err := read(file)
	if err != nil {
		return err
	}
	answer := result{}
	for range repeats {
		// A scheduler keeps its claims from one Solve to the next, so each gets one of its own.
		copies := make([]*corev1.Pod, len(pods))
		for i := range pods {
			copies[i] = pods[i].DeepCopy()
		}
		ctx := options.ToContext(
			injection.WithControllerName(context.Background(), "provisioner"), settings())
		scheduler, err := newScheduler(ctx, copies)
		if err != nil {
			return err
		}
		runtime.GC()
		began := time.Now()
		results, err := scheduler.Solve(ctx, copies)
		seconds := time.Since(began).Seconds()
		if err != nil {
			return fmt.Errorf("solving: %w", err)
		}
		answer.Seconds = append(answer.Seconds, seconds)
		if answer.Machines, err = machines(results); err != nil {
			return err
		}
		answer.Errors = map[string]string{}
		for pod, problem := range results.PodErrors {
			answer.Errors[key(pod)] = problem.Error()
		}
	}
	answer.MaxRSS = maxRSS()
	return json.NewEncoder(os.Stdout).Encode(answer)
}

// read answers the pods of a List; its objects of other kinds are for Plimsoll.
func read(file string) ([]*corev1.Pod, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var pods []*corev1.Pod
	for number, item := range list.Items {
		var head metav1.TypeMeta
		if err := json.Unmarshal(item, &head); err != nil {
			return nil, fmt.Errorf("%s: item %d: %w", file, number, err)
		}
		if head.Kind != "Pod" {
			continue
		}
		pod := &corev1.Pod{}
		if err := json.Unmarshal(item, pod); err != nil {
			return nil, fmt.Errorf("%s: item %d: %w", file, number, err)
		}
		pods = append(pods, pod)
	}
	if len(pods) == 0 {
		return nil, fmt.Errorf("%s: holds no pods", file)
	}
	return pods, nil
}

func settings() *options.Options {
	return &options.Options{
		CPURequests:       threads * 1000,
		PreferencePolicy:  options.PreferencePolicyRespect,
		MinValuesPolicy:   options.MinValuesPolicyStrict,
		IgnoreDRARequests: true,
		FeatureGates:      options.DefaultFeatureGates(),
	}
}

func newScheduler(ctx context.Context, pods []*corev1.Pod) (*scheduling.Scheduler, error) {
	pool := &karpenter.NodePool{ObjectMeta: metav1.ObjectMeta{Name: poolName}}
	pool.Spec.Limits = karpenter.Limits{
		corev1.ResourceCPU:    resource.MustParse("10000000"),
		corev1.ResourceMemory: resource.MustParse("10000000Gi"),
	}
	pool.Spec.Template.Spec.NodeClassRef = &karpenter.NodeClassReference{
		Group: "bench.plimsoll.dev", Kind: "NodeClass", Name: "bench",
	}
	types := map[string][]*cloudprovider.InstanceType{poolName: fake.InstanceTypes(instanceTypes)}
	provider := fake.NewCloudProvider()
	provider.InstanceTypes = types[poolName]

	client := clientfake.NewClientBuilder().Build()
	now := clock.RealClock{}
	cluster := state.NewCluster(now, client, provider)
	pools := []*karpenter.NodePool{pool}
	concurrency := scheduling.NumConcurrentReconciles(threads)
	topology, err := scheduling.NewTopology(
		ctx, client, cluster, nil, pools, types, pods, concurrency)
	if err != nil {
		return nil, fmt.Errorf("creating the topology: %w", err)
	}
	recorder := events.NewRecorder(&record.FakeRecorder{})
	return scheduling.NewScheduler(
		ctx, client, pools, cluster, nil, topology, types, nil, recorder, now, nil, nil, concurrency,
	), nil
}

// machines answers for each claim the cheapest type that is still open to it, which is what
// a provider is asked to buy.
func machines(results scheduling.Results) ([]machine, error) {
	bought := make([]machine, 0, len(results.NewNodeClaims))
	for number, claim := range results.NewNodeClaims {
		types := cloudprovider.InstanceTypes(claim.InstanceTypeOptions).
			OrderByPrice(claim.Requirements)
		if len(types) == 0 {
			return nil, fmt.Errorf("claim %d: no instance type is left", number)
		}
		chosen := types[0]
		offerings := chosen.Offerings.Available().Compatible(claim.Requirements)
		price := offerings.Cheapest().Price
		var zones []string
		for _, offering := range offerings {
			if offering.Price == price && !slices.Contains(zones, offering.Zone()) {
				zones = append(zones, offering.Zone())
			}
		}
		slices.Sort(zones)
		allocatable := chosen.Allocatable()
		one := machine{
			Type:              chosen.Name,
			AllocatableCPU:    allocatable.Cpu().MilliValue(),
			AllocatableMemory: allocatable.Memory().Value(),
			MaxPods:           allocatable.Pods().Value(),
			CPU:               chosen.Capacity.Cpu().Value(),
			Memory:            chosen.Capacity.Memory().Value(),
			Price:             price,
			Zones:             zones,
		}
		for _, pod := range claim.Pods {
			one.Pods = append(one.Pods, key(pod))
		}
		bought = append(bought, one)
	}
	return bought, nil
}

func key(pod *corev1.Pod) string {
	return pod.Namespace + "/" + pod.Name
}
