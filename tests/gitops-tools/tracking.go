package main

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// How Argo CD knows what belongs to an application: by an annotation, its default, or by a label. That is Argo CD's, not its
// engine's, which only asks.
const (
	trackingAnnotation = "argocd.argoproj.io/tracking-id"
	trackingLabel      = "app.kubernetes.io/instance"
)

type tracking struct {
	application string
	byLabel     bool
}

// mark makes an object the application's.
func (t tracking) mark(object *unstructured.Unstructured) {
	if t.byLabel {
		labels := object.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[trackingLabel] = t.application
		object.SetLabels(labels)
		return
	}
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[trackingAnnotation] = t.id(object)
	object.SetAnnotations(annotations)
}

// The annotation names its object, so that a copy of it on another object means nothing.
func (t tracking) id(object *unstructured.Unstructured) string {
	kind := object.GroupVersionKind().GroupKind()
	return fmt.Sprintf("%s:%s/%s:%s/%s", t.application, kind.Group, kind.Kind, object.GetNamespace(), object.GetName())
}

// names tells whether an object bears the application's name.
func (t tracking) names(object *unstructured.Unstructured) bool {
	if t.byLabel {
		return object.GetLabels()[trackingLabel] == t.application
	}
	application, _, _ := strings.Cut(object.GetAnnotations()[trackingAnnotation], ":")
	return application == t.application
}

// owns tells whether an object that bears the name has it from the application itself.
func (t tracking) owns(object *unstructured.Unstructured) bool {
	return t.byLabel || object.GetAnnotations()[trackingAnnotation] == t.id(object)
}
