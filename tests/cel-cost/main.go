// Command cel-cost evaluates the validation rules of a CRD with the code of the API server, and prints what they cost.
//
// Usage: cel-cost CRD < CASES
//
// CASES is a JSON list of writes: {"name": …, "object": …, "oldObject": …}; without oldObject, a create. The output is one JSON object: the
// API server's cost estimate of each rule and its message, their limit, and for each write the runtime cost, its limit, the bytes that the
// API server allocates to evaluate the rules, and the errors. Bytes stand for time: they are nearly the same in every run, and most of the time
// goes into allocating them.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// How often a write is evaluated.
const rounds = 100

type write struct {
	Name      string         `json:"name"`
	Object    map[string]any `json:"object"`
	OldObject map[string]any `json:"oldObject"`
}

type ruleCost struct {
	Path     string `json:"path"`
	Estimate uint64 `json:"estimate"`
	Message  uint64 `json:"messageEstimate"`
}

type writeCost struct {
	Name   string   `json:"name"`
	Cost   int64    `json:"cost"`
	Bytes  uint64   `json:"bytes"`
	Errors []string `json:"errors"`
}

type report struct {
	Rules         []ruleCost  `json:"rules"`
	EstimateLimit uint64      `json:"estimateLimit"`
	Writes        []writeCost `json:"writes"`
	CostLimit     int64       `json:"costLimit"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cel-cost:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: cel-cost CRD < CASES")
	}
	structural, err := readSchema(os.Args[1])
	if err != nil {
		return err
	}
	var writes []write
	if err := json.NewDecoder(os.Stdin).Decode(&writes); err != nil {
		return fmt.Errorf("reading the writes: %w", err)
	}
	found := report{EstimateLimit: validation.StaticEstimatedCostLimit, CostLimit: celconfig.PerCallLimit, Rules: []ruleCost{}}
	if err := estimate("", structural, true, 1, &found.Rules); err != nil {
		return err
	}
	validator := cel.NewValidator(structural, true, celconfig.PerCallLimit)
	debug.SetGCPercent(-1)
	for _, write := range writes {
		found.Writes = append(found.Writes, measure(structural, validator, write))
		runtime.GC()
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func readSchema(path string) (*schema.Structural, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var external apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &external); err != nil {
		return nil, err
	}
	var crd apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&external, &crd, nil); err != nil {
		return nil, err
	}
	// With one version, the conversion moves the schema up.
	validationSchema := crd.Spec.Validation
	if validationSchema == nil {
		validationSchema = crd.Spec.Versions[0].Schema
	}
	return schema.NewStructural(validationSchema.OpenAPIV3Schema)
}

// unbounded is the number of values at a path if a list or a map above it has no limit.
const unbounded = 0

// estimate appends the API server's cost estimates of all rules at and below a schema, of which an object has at most count values. Below
// a list or a map without a limit, the API server derives the count from the size of a request.
func estimate(path string, at *schema.Structural, isRoot bool, count uint64, costs *[]ruleCost) error {
	rules, err := cel.Compile(at, model.SchemaDeclType(at, isRoot), celconfig.PerCallLimit, environmentSet(), cel.NewExpressionsEnvLoader())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, rule := range rules {
		if rule.Error != nil {
			return fmt.Errorf("%s: %s", path, rule.Error.Detail)
		}
		if rule.MessageExpressionError != nil {
			return fmt.Errorf("%s: %s", path, rule.MessageExpressionError.Detail)
		}
		factor := count
		if factor == unbounded {
			factor = max(rule.MaxCardinality, 1)
		}
		*costs = append(*costs, ruleCost{path, times(rule.MaxCost, factor), times(rule.MessageExpressionMaxCost, factor)})
	}
	for name, property := range at.Properties {
		if err := estimate(path+"."+name, &property, false, count, costs); err != nil {
			return err
		}
	}
	if at.Items != nil {
		return estimate(path+"[]", at.Items, false, limited(count, at, func(limits *schema.ValueValidation) *int64 { return limits.MaxItems }), costs)
	}
	if at.AdditionalProperties != nil && at.AdditionalProperties.Structural != nil {
		values := limited(count, at, func(limits *schema.ValueValidation) *int64 { return limits.MaxProperties })
		return estimate(path+"{}", at.AdditionalProperties.Structural, false, values, costs)
	}
	return nil
}

// limited is the number of values in count lists or maps.
func limited(count uint64, at *schema.Structural, limit func(*schema.ValueValidation) *int64) uint64 {
	if at.ValueValidation == nil || limit(at.ValueValidation) == nil {
		return unbounded
	}
	return times(count, uint64(*limit(at.ValueValidation)))
}

func times(cost, factor uint64) uint64 {
	if factor > 0 && cost > math.MaxUint64/factor {
		return math.MaxUint64
	}
	return cost * factor
}

func measure(structural *schema.Structural, validator *cel.Validator, write write) writeCost {
	result := writeCost{Name: write.Name, Errors: []string{}}
	evaluate := func() {
		var options []cel.Option
		var oldObject any
		if write.OldObject != nil {
			correlation := common.NewCorrelatedObject(write.Object, write.OldObject, &model.Structural{Structural: structural})
			options = append(options, cel.WithRatcheting(correlation))
			oldObject = write.OldObject
		}
		errs, remaining := validator.Validate(context.Background(), nil, structural, write.Object, oldObject, celconfig.RuntimeCELCostBudget, options...)
		result.Cost = celconfig.RuntimeCELCostBudget - remaining
		result.Errors = result.Errors[:0]
		for _, err := range errs {
			result.Errors = append(result.Errors, err.Error())
		}
	}
	evaluate()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		evaluate()
	}
	runtime.ReadMemStats(&after)
	result.Bytes = (after.TotalAlloc - before.TotalAlloc) / rounds
	return result
}

func environmentSet() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}
