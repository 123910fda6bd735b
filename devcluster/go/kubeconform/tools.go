//go:build tools

// Package tools pins what devcluster builds from github.com/yannh/kubeconform.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
)
