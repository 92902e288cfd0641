package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// checkOut clones a repository and returns the objects of all its YAML files, and the commit they are from.
func checkOut(repository string) ([]*unstructured.Unstructured, string, error) {
	directory, err := os.MkdirTemp("", "gitops-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(directory)
	if _, err := git("clone", "--quiet", "--", repository, directory); err != nil {
		return nil, "", err
	}
	commit, err := git("-C", directory, "rev-parse", "HEAD")
	if err != nil {
		return nil, "", err
	}
	var objects []*unstructured.Unstructured
	err = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := kube.SplitYAML(text)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		objects = append(objects, parsed...)
		return nil
	})
	return objects, strings.TrimSpace(commit), err
}

func git(args ...string) (string, error) {
	command := exec.Command("git", args...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return string(output), nil
}
