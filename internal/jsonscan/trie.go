package jsonscan

import (
	"fmt"
	"strings"
)

// Trie is a set of wanted paths, compiled. It is read only and safe for
// concurrent use.
type Trie struct{ root *node }

type node struct {
	slot  int // -1: not wanted itself
	mask  uint64
	edges []edge
	elem  *node // of the elements of an array
	list  []edge
}

type edge struct {
	hash uint64
	name string
	to   *node
}

// Compile makes a Trie of dotted paths: "actor.id", "runs[].status" for each
// element of an array. The value at paths[i] is reported with slot i; the
// empty path is the whole value. Keys that hold a dot cannot be named.
func Compile(paths []string) (*Trie, error) {
	if len(paths) > 1<<15 {
		return nil, fmt.Errorf("compile paths: %d paths, at most %d are possible", len(paths), 1<<15)
	}
	root := &node{slot: -1}
	for slot, path := range paths {
		n := root
		if path != "" {
			for name := range strings.SplitSeq(path, ".") {
				key, elems := name, 0
				for strings.HasSuffix(key, "[]") {
					key, elems = key[:len(key)-2], elems+1
				}
				if key == "" {
					return nil, fmt.Errorf("compile path %q: it has an empty part", path)
				}
				n = n.grow(key)
				for range elems {
					if n.elem == nil {
						n.elem = &node{slot: -1}
					}
					n = n.elem
				}
			}
		}
		if n.slot >= 0 {
			return nil, fmt.Errorf("compile path %q: it is there twice (also as %q)", path, paths[n.slot])
		}
		n.slot = slot
	}
	root.seal()
	return &Trie{root: root}, nil
}

// grow returns the child of that name and makes it if need be.
func (n *node) grow(key string) *node {
	for _, e := range n.list {
		if equalFold([]byte(key), e.name) {
			return e.to
		}
	}
	to := &node{slot: -1}
	n.list = append(n.list, edge{hash: hashKey([]byte(key)), name: key, to: to})
	return to
}

// seal builds the hash tables: big enough that most lookups take one step.
func (n *node) seal() {
	if n.elem != nil {
		n.elem.seal()
	}
	size := uint64(1)
	for size < 4*uint64(len(n.list)) {
		size *= 2
	}
	n.mask, n.edges = size-1, make([]edge, size)
	for _, e := range n.list {
		e.to.seal()
		i := e.hash & n.mask
		for n.edges[i].to != nil {
			i = (i + 1) & n.mask
		}
		n.edges[i] = e
	}
	n.list = nil
}

// child returns the child of that key, or nil. At least three quarters of the
// table are empty, so the walk ends.
func (n *node) child(h uint64, key []byte) *node {
	for i := h & n.mask; ; i = (i + 1) & n.mask {
		e := &n.edges[i]
		if e.to == nil {
			return nil
		}
		if e.hash == h && (string(key) == e.name || equalFold(key, e.name)) {
			return e.to
		}
	}
}
