package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/collector/store/sqlread"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// maxStatementShown caps the text of a statement in an event, bytes; of a longer
// one its hash is kept, too.
const maxStatementShown = 2000

// statement records that the caller reads content by SQL. Each statement is an
// event: the rows behind the same text change.
func (l *accessLog) statement(ctx context.Context, p *auth.Principal, address string, r sqlread.Read) error {
	args := map[string]string{
		"address": address, "tables": strings.Join(r.Tables, " "), "columns": cutText(strings.Join(r.Columns, " ")),
		"query": cutText(r.Statement), "status": strconv.Itoa(r.Status), "bytes": strconv.FormatInt(r.Bytes, 10),
	}
	if len(r.Statement) > maxStatementShown {
		sum := sha256.Sum256([]byte(r.Statement))
		args["query_sha256"] = hex.EncodeToString(sum[:])
	}
	if len(r.Parameters) > 0 {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
			all = append(all, name+"="+r.Parameters[name])
		}
		args["parameters"] = cutText(strings.Join(all, " "))
	}
	if r.Rows >= 0 {
		args["rows"] = strconv.FormatInt(r.Rows, 10)
	}
	reason := "content read by SQL"
	switch {
	case r.More:
		reason = "content read by SQL; the answer is long, its rows and bytes follow"
		delete(args, "rows")
		args["bytes"] = "more than " + args["bytes"]
	case r.Again:
		reason = "content was read by SQL; this is how much"
	}
	return l.put(ctx, strings.Join([]string{auth.VerbContentRead, p.Tenant, p.Name}, "\x00"), schemas.Control{
		Tenant: p.Tenant, Author: p.Name, Verb: auth.VerbContentRead, Target: sqlPath, Reason: reason, Args: args,
	})
}

// cutText shortens a text to what an event shows of it.
func cutText(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxStatementShown)], "")
}
