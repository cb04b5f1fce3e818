package format

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// appendEvent appends the typed fields of the event as one JSON object.
func appendEvent(dst []byte, e *schemas.Event) []byte {
	dst = append(dst, `{"id":"`...)
	dst = hex.AppendEncode(dst, e.ID[:])
	dst = append(dst, `","class":"`...)
	dst = append(dst, e.Class.String()...)
	dst = append(dst, `","time":"`...)
	dst = time.Unix(0, e.Time).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	for _, f := range [...]struct{ k, v string }{{"tenant", e.Tenant}, {"source", e.Source}, {"kind", e.Kind}, {"actor", e.Actor}, {"actor_email", e.ActorEmail}, {"agent", e.Agent}, {"action", e.Action}, {"tool", e.Tool}, {"target", e.Target}, {"reason", e.Reason}} {
		if f.v != "" {
			dst = append(append(append(dst, ',', '"'), f.k...), `":`...)
			dst = String(dst, f.v)
		}
	}
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendUint(dst, e.Offset, 10)
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendUint(dst, uint64(e.Index), 10)
	dst = append(dst, `,"raw_sha256":"`...)
	dst = hex.AppendEncode(dst, e.Digest[:])
	return append(dst, `"}`...)
}
