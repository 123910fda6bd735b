//go:build tools

// Package tools pins what devcluster builds from github.com/cloudnativelabs/kube-router/v2.
package tools

import (
	_ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
)
