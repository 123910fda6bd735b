//go:build tools

// Package tools pins what devcluster builds from sigs.k8s.io/kwok.
package tools

import (
	_ "sigs.k8s.io/kwok/cmd/kwok"
)
