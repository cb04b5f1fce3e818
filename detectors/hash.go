package detectors

import (
	"math/bits"
	"math/rand/v2"
)

// seeds differ from process to process, so that a sender cannot choose ids that
// all fall into one place of a table.
var seeds = [3]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64() | 1}

// hashString hashes s on top of h. Ids are short: the 16 bytes of most of them
// take two multiplications, where a map whose keys have two parts hashes each
// part with AES.
func hashString(h uint64, s string) uint64 {
	h = (h + uint64(len(s))<<32) * seeds[2]
	for len(s) > 16 {
		h = fold(word(s)^seeds[0], word(s[8:])^seeds[1]^h)
		s = s[16:]
	}
	switch {
	case len(s) >= 8: // the two words overlap
		return fold(word(s)^seeds[0], word(s[len(s)-8:])^seeds[1]^h)
	case len(s) >= 4:
		return fold(half(s)^seeds[0], half(s[len(s)-4:])^seeds[1]^h)
	case len(s) > 0:
		return fold(uint64(s[0])<<16^uint64(s[len(s)/2])<<8^uint64(s[len(s)-1])^seeds[0], seeds[1]^h)
	}
	return fold(seeds[0], seeds[1]^h)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// word and half read eight and four bytes; the compiler makes each one load.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func half(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}
