package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type objectHealth struct {
	Kstatus string `json:"kstatus"`
	ArgoCD  string `json:"argocd"`
	Message string `json:"message"`
}

func healthOf(args []string) ([]objectHealth, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("usage: %s health SCRIPT <OBJECTS", os.Args[0])
	}
	scripted, err := readScript(args[0])
	if err != nil {
		return nil, err
	}
	// As unstructured objects, so that numbers become what the libraries expect.
	var raw []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&raw); err != nil {
		return nil, err
	}
	answers := make([]objectHealth, 0, len(raw))
	for _, text := range raw {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		computed, err := status.Compute(object)
		if err != nil {
			return nil, err
		}
		argo, err := health.GetResourceHealth(object, scripted)
		if err != nil {
			return nil, err
		}
		answers = append(answers, objectHealth{string(computed.Status), string(argo.Status), argo.Message})
	}
	return answers, nil
}

// script is the health of the operator's kinds as Argo CD's ConfigMap defines it. All other kinds are left to the engine.
type script string

func readScript(path string) (script, error) {
	text, err := os.ReadFile(path)
	return script(text), err
}

// GetResourceHealth runs the script as Argo CD does: the object is the global obj, the answer a table.
func (s script) GetResourceHealth(object *unstructured.Unstructured) (*health.HealthStatus, error) {
	if object.GroupVersionKind().Group != "keypairs.dev" {
		return nil, nil
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(string(s)); err != nil {
		return nil, err
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script answers with %s, not with a table", state.Get(-1).Type())
	}
	return &health.HealthStatus{
		Status:  health.HealthStatusCode(answer.RawGetString("status").String()),
		Message: answer.RawGetString("message").String(),
	}, nil
}

func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		table := state.CreateTable(len(from), 0)
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(from))
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
