package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bytedance/sonic"
)

// bench holds what the rows share.
type bench struct {
	dir    string
	data   *dataset
	token  string
	parser float64 // records per CPU-second of the bare parser, 0 before bound ran
	runs   int
}

// flat is the record as a bare parser reads it: the fifteen fields that the
// mapping takes from it too.
type flat struct {
	TS      string `json:"ts"`
	EventID string `json:"event_id"`
	Actor   struct {
		ID    string `json:"id"`
		Email string `json:"email"`
	} `json:"actor"`
	AgentID    string  `json:"agent_id"`
	Method     string  `json:"method"`
	Endpoint   string  `json:"endpoint"`
	Action     string  `json:"action"`
	ActionType string  `json:"action_type"`
	Status     string  `json:"status"`
	HTTPStatus int     `json:"http_status"`
	DurationMS float64 `json:"duration_ms"`
	IP         string  `json:"ip"`
	UserAgent  string  `json:"user_agent"`
	TraceID    string  `json:"trace_id"`
}

// bound is a loop of sonic over the same records on one core.
func (b *bench) bound(context.Context) error {
	var rates []float64
	for range *reps {
		before := cpuSelf()
		for line := range bytes.Lines(b.data.body) {
			var f flat
			if err := sonic.ConfigDefault.Unmarshal(line, &f); err != nil {
				return err
			}
		}
		rates = append(rates, float64(*events)/(cpuSelf()-before))
	}
	b.parser = median(rates)
	fmt.Printf("bare parser (sonic into a struct of 15 fields)   %9.0f events per CPU-second\n", b.parser)
	return nil
}

func cpuSelf() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// result is one run of serve over the data set.
type result struct {
	perCPU, user, system, peak, engine, wall float64
	before                                   float64 // CPU seconds until the first record
	lost, dup, bytes                         int
}

// spine is the row of DESIGN.md: HTTP in, journal with fsync before 202 and a
// hash chain, three detectors, filter, Splunk HEC; store and gzip off.
func (b *bench) spine(ctx context.Context) error {
	r, err := b.row(ctx, variant{detectors: true, sink: true, profile: *prof})
	if err != nil {
		return err
	}
	b.print("spine: journal, 3 detectors, filter, Splunk HEC", r)
	return nil
}

// stages switches the parts on one by one; the differences are the cost of
// each in microseconds of CPU per event.
func (b *bench) stages(ctx context.Context) error {
	last := 0.0
	fmt.Println("\nstage by stage, µs of CPU per event (the difference to the row before)")
	for _, v := range []struct {
		name string
		variant
	}{
		{"intake, decode, de-duplicate, journal", variant{}},
		{"+ detectors", variant{detectors: true}},
		{"+ filter, redact, format, send", variant{detectors: true, sink: true}},
	} {
		r, err := b.row(ctx, v.variant)
		if err != nil {
			return err
		}
		us := 1e6 / r.perCPU
		fmt.Printf("%-48s %9.2f µs  (%+.2f)\n", v.name, us, us-last)
		last = us
	}
	return nil
}

// store measures how fast rows reach the embedded ClickHouse, engine included.
func (b *bench) store(ctx context.Context) error {
	fmt.Println()
	for _, raw := range []bool{true, false} {
		r, err := b.row(ctx, variant{detectors: true, sink: true, store: true, raw: raw})
		if err != nil {
			return err
		}
		fmt.Printf("store, raw content %-5v %9.0f events/s of wall time until the last row is in, serve %.1f CPU-s, engine %.1f CPU-s, serve %.0f MB peak\n",
			raw, float64(*events)/r.wall, r.user+r.system, r.engine, r.peak)
	}
	return nil
}

func (b *bench) print(name string, r result) {
	fmt.Printf("%-48s %9.0f events per CPU-second  (%.2f s user, %.2f s system, %.0f MB peak, lost %d, doubled %d)", name, r.perCPU, r.user, r.system, r.peak, r.lost, r.dup)
	if b.parser > 0 {
		fmt.Printf("  %.0f %% of the bare parser", 100*r.perCPU/b.parser)
	}
	fmt.Println()
}

// variant says which parts are on.
type variant struct {
	detectors, sink, store, raw bool
	out, wire                   string // another sink than splunk, of all records, and the protocol of its receiver
	profile                     string
}

func (b *bench) row(ctx context.Context, v variant) (result, error) {
	var all []result
	for range *reps {
		r, err := b.once(ctx, v)
		if err != nil {
			return result{}, err
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(x, y result) int {
		switch {
		case x.perCPU < y.perCPU:
			return -1
		case x.perCPU > y.perCPU:
			return 1
		}
		return 0
	})
	return all[len(all)/2], nil
}

// once runs serve over the data set and waits until everything came through.
func (b *bench) once(ctx context.Context, v variant) (result, error) {
	s, err := b.serve(ctx, v)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	began := time.Now()
	userBefore, systemBefore, _ := s.p.usage()
	if err := b.audit(s.url).post(ctx, b.data.batches(500), 4); err != nil {
		return result{}, err
	}
	want := 0
	switch {
	case v.out != "":
		want = *events
	case v.sink:
		want = b.data.kept
	}
	var t counts
	for deadline := time.Now().Add(3 * time.Minute); ; {
		drained, err := s.drained(b.token)
		if err != nil {
			return result{}, err
		}
		if v.sink {
			if t, err = s.siem.stats(); err != nil {
				return result{}, err
			}
		}
		if drained && t.Distinct >= want {
			break
		}
		if time.Now().After(deadline) {
			return result{}, fmt.Errorf("not drained after 3 min: %d of %d events at the receiver", t.Distinct, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
	wall := time.Since(began).Seconds()
	r := result{wall: wall, lost: want - t.Distinct, dup: t.Duplicate, bytes: t.Bytes, before: userBefore + systemBefore}
	r.user, r.system, r.peak = s.p.usage()
	for _, pid := range s.p.children() {
		u, sy, _ := usageOf(pid)
		r.engine += u + sy
	}
	r.perCPU = float64(*events) / (r.user + r.system)
	return r, nil
}

// served is a running serve with its receiver.
type served struct {
	p    *process
	siem *receiver
	url  string
}

func (s *served) close() {
	s.p.stop()
	s.siem.stop()
}

// drained reports whether every consumer has read everything.
func (s *served) drained(token string) (bool, error) {
	var st struct {
		Consumers []struct {
			Name string `json:"name"`
			Lag  uint64 `json:"lag"`
		} `json:"consumers"`
	}
	if err := getJSON(s.url+"/agentrail/v1/status", token, &st); err != nil {
		return false, err
	}
	for _, c := range st.Consumers {
		if c.Lag > 0 {
			return false, nil
		}
	}
	return true, nil
}

// serve starts the program in a new folder.
func (b *bench) serve(ctx context.Context, v variant) (*served, error) {
	b.runs++
	dir := filepath.Join(b.dir, fmt.Sprint(b.runs))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	token, err := exec.CommandContext(ctx, *bin, "token", "new", "--file", filepath.Join(dir, "tokens.yaml"), "--name", "bench", "--tenant", "default", "--roles", "ingest,viewer,admin").Output()
	if err != nil {
		return nil, fmt.Errorf("make token: %w", err)
	}
	b.token = strings.TrimSpace(string(token))
	mapping, err := filepath.Abs("schemas/mapping/examples/flat.yaml")
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("version: 1\ndata: %s/data\nlisten: %s\nlog: {level: warn}\nmappings: [%s]\nsources: [{kind: audit, mapping: flat}]\n", dir, addr, mapping)
	if v.detectors {
		conf += "detectors: [{kind: subscription}, {kind: burst}, {kind: denial}]\n"
	} else {
		conf += "detectors: []\n"
	}
	s := &served{url: "http://" + addr}
	if s.siem, err = startReceiver(ctx, dir, v.wire); err != nil {
		return nil, err
	}
	if v.sink {
		secret := filepath.Join(dir, "siem.token")
		if err := os.WriteFile(secret, []byte("bench"), 0o600); err != nil {
			return nil, fmt.Errorf("write token: %w", err)
		}
		out := v.out
		if out == "" {
			out = "kind: splunk, url: 'HTTP', token_file: SECRET, gzip: false, filter: 'access != \"read\"'"
		}
		address := filepath.Join(dir, "siem.url") // of receivers whose URL is the secret
		if err := os.WriteFile(address, []byte(s.siem.url+"/sumo"), 0o600); err != nil {
			return nil, fmt.Errorf("write URL: %w", err)
		}
		conf += "sinks: [{name: soc, " + s.siem.fill(strings.NewReplacer("SECRET", secret, "URLFILE", address).Replace(out)) + "}]\n"
	}
	if v.store {
		conf += fmt.Sprintf("store: {kind: embedded, raw: %t}\n", v.raw)
	} else {
		conf += "store: {kind: none}\n"
	}
	file := filepath.Join(dir, "agentrail.yaml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	args := []string{*bin, "serve", "--config", file}
	if v.profile != "" {
		args = append(args, "--cpuprofile", v.profile)
	}
	if s.p, err = start(filepath.Join(dir, "serve.log"), args...); err != nil {
		s.siem.stop()
		return nil, err
	}
	if err := waitReady(ctx, s.url+"/readyz", s.p); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "serve.log"))
		s.close()
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	return s, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
