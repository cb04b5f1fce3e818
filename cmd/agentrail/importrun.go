package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// importRun is the import of one file.
type importRun struct {
	im     *importer
	name   string
	parts  *collector.Parts
	total  *tally
	source string          // name or path, once it is known
	local  *decode.Mapping // what the records mean, as far as this program knows; nil: only the server does
	state  *importState
	count  fileTally
}

// begin skips what was sent, if that was asked for.
func (r *importRun) begin() error {
	r.count.name = r.name
	if r.im.dryRun {
		return nil
	}
	server, err := r.im.cl.base()
	if err != nil {
		return err
	}
	r.state, err = openImportState(r.im.c, server.String(), r.im.source, r.im.mapping, r.parts.ID)
	if err != nil || !r.im.resume || r.state.Offset == 0 {
		return err
	}
	r.count.skipped = r.state.Offset
	if err := r.parts.Skip(r.state.Offset); err != nil {
		return hintf("run it without --resume", "resume %s: %w", r.name, err)
	}
	return nil
}

// part reads one part here, for the report, and sends it.
func (r *importRun) part(ctx context.Context, p collector.Part) error {
	if r.source == "" {
		if err := r.choose(p); err != nil {
			return err
		}
	}
	rejects, err := r.look(p)
	if err != nil {
		return err
	}
	if r.im.dryRun {
		r.reject(p, rejects)
		return nil
	}
	answer, err := r.send(ctx, p)
	if err != nil {
		return err
	}
	r.count.accepted += answer.Accepted
	r.count.duplicates += answer.Duplicates
	r.total.accepted += answer.Accepted
	r.total.duplicates += answer.Duplicates
	r.total.offset = max(r.total.offset, answer.Offset)
	r.reject(p, answer.Rejected)
	r.total.rejected += answer.RejectedTotal - len(answer.Rejected)
	r.count.rejected += answer.RejectedTotal - len(answer.Rejected)
	return r.state.save(p.To)
}

// choose decides on source and mapping by the first records.
func (r *importRun) choose(p collector.Part) error {
	im := r.im
	source, name := "audit", "audit"
	switch {
	case r.parts.Kind == "csv":
		name = "csv"
	case r.isWorkflowRun(p):
		source, name = "workflowrun", "workflowrun"
	}
	r.source, name = firstOf(im.source, source), firstOf(im.mapping, name)
	m, err := im.set.Mapping(name)
	if err != nil && im.dryRun {
		return hintf("a dry run reads with this program's mappings; name a file with --mapping", "%w", err)
	}
	r.local = m
	if r.local != nil && r.parts.Head != nil {
		err := r.local.CheckHead(r.parts.Head)
		if err == nil && !im.live && !r.local.ReadsTime(r.parts.Head) {
			err = fmt.Errorf("mapping %s reads none of its columns as a time, and history without times teaches nothing", name)
		}
		switch {
		case err == nil:
		case im.mapping != "" && im.digest == "" && !im.dryRun:
			r.local = nil // the server may know another mapping by that name
		default:
			return hintf("agentrail import --guess "+shellQuote(r.name)+"; --mapping names another one that the server knows", "read %s: %w", r.name, err)
		}
	}
	if r.local != nil && !slices.Contains(r.total.mappings, name) {
		r.total.mappings = append(r.total.mappings, name)
	}
	r.total.table(r.parts.Head, r.local)
	r.total.utc = r.total.utc || r.parts.Head != nil && r.local != nil && im.zone == "" && r.local.Zone() == ""
	r.count.source = r.source
	return nil
}

// isWorkflowRun tells the customer event log from the audit log by the kinds of
// its records.
func (r *importRun) isWorkflowRun(p collector.Part) bool {
	m, err := r.im.set.Mapping("workflowrun")
	if err != nil {
		return false
	}
	b := partBatch(p)
	if _, err := m.Read(b, decode.Limits{}); err != nil {
		return false
	}
	known := 0
	for i := range b.Events {
		if ev := &b.Events[i]; ev.Flags&(schemas.FlagUnknownKind|schemas.FlagRejected) == 0 && ev.Kind != "customer_event" {
			known++
		}
	}
	return 2*known > len(b.Events)
}

func partBatch(p collector.Part) *schemas.Batch {
	return &schemas.Batch{
		Header: schemas.Header{Tenant: "import", Source: "import", Class: schemas.ClassActivity, ContentType: p.ContentType, Received: farFuture},
		Body:   p.Body,
	}
}

// farFuture stands for the time of receipt, which does not matter here.
const farFuture = 1<<62 - 1

// look reads the part with this program's mapping and counts what it holds.
func (r *importRun) look(p collector.Part) ([]rejectedAt, error) {
	if r.local == nil {
		return nil, nil
	}
	b := partBatch(p)
	rejects, err := r.local.Read(b, decode.Limits{})
	if err != nil && !errors.Is(err, decode.ErrNothing) {
		return nil, err
	}
	if r.im.dryRun {
		n := len(b.Records) - len(rejects)
		r.total.accepted, r.count.accepted = r.total.accepted+n, r.count.accepted+n
	}
	for i := range b.Events {
		r.total.event(&b.Events[i])
	}
	if h := r.parts.Head; h != nil {
		r.total.rows(h, r.local, p.Body[h.Size:])
	}
	var out []rejectedAt
	for _, j := range rejects {
		out = append(out, rejectedAt{Line: j.Line, Offset: int64(j.Start), Code: j.Code, Reason: j.Reason})
	}
	return out, nil
}

// rejectedAt names a record that could not be read, as the intake does.
type rejectedAt struct {
	Line   int    `json:"line"`
	Offset int64  `json:"offset"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// reject counts rejected records of a part by their places in the file.
func (r *importRun) reject(p collector.Part, list []rejectedAt) {
	for _, j := range list {
		r.count.rejected++
		r.total.reject(fmt.Sprintf("%s: line %d, byte %d", r.name, p.Line+j.Line, p.Base+j.Offset), j.Code, j.Reason)
	}
}

// end notes what could not be sent and that all was.
func (r *importRun) end() error {
	for _, p := range r.parts.Skipped {
		r.count.rejected++
		r.total.reject(fmt.Sprintf("%s: line %d, byte %d", r.name, p.Line+1, p.From), "record_too_large",
			fmt.Sprintf("%d bytes without a line end: not sent", p.To-p.From))
	}
	r.total.files = append(r.total.files, r.count)
	if r.state == nil {
		return nil
	}
	return r.state.remove()
}

// path is where the source listens.
func (r *importRun) path() string {
	if strings.HasPrefix(r.source, "/") {
		return r.source
	}
	return "/v1/" + r.source
}
