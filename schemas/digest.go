package schemas

import "crypto/sha256"

// DigestOf returns the digest of a record's bytes as stored: what
// Record.Digest and Event.Digest hold. Whoever cuts a body into records
// computes it, once; Append trusts it.
func DigestOf(raw []byte) Digest { return sha256.Sum256(raw) }
