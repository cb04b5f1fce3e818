package sinks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("sumo", openSumo) }

// sumoConfig sends events to an HTTP source of Sumo Logic, one a line. The
// source needs no parsing of time for the time of an event to be found: the
// member time of the native format is enough. An event counts as delivered when
// the source accepts it.
type sumoConfig struct {
	Common Common `yaml:",inline"`
	// URL of the source. Who knows it may send: it is the secret.
	URL     plug.Secret `yaml:"url"`
	URLFile string      `yaml:"url_file"`
	// Category, SourceName and Host are Sumo's fields of these names, over
	// those of the source.
	Category   string `yaml:"category"`
	SourceName string `yaml:"source_name"`
	Host       string `yaml:"host"`
	// Fields are added to each event; Sumo must know them.
	Fields map[string]string `yaml:"fields"`
	// PastWindow is how old an event may be to keep its time; replay asks before it
	// sends older ones. Default: 24h, as Sumo Logic documents for sources that find
	// timestamps by themselves: what is more than a day from the source's recent
	// messages gets the time of arrival. A source with a timestamp format of its own
	// takes older ones.
	PastWindow plug.Duration `yaml:"past_window"`
	// Gzip compresses requests.
	Gzip bool `yaml:"gzip"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// sumoPast is how old the time of an event may be for Sumo to believe it.
const sumoPast = 24 * time.Hour

// sumo is the sink.
type sumo struct {
	in     intake
	frame  frame
	format format.Func
	past   time.Duration
}

func openSumo(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := sumoConfig{Common: DefaultCommon(), Gzip: true, PastWindow: plug.Duration(sumoPast), Timeout: plug.Duration(30 * time.Second)}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &sumo{past: time.Duration(conf.PastWindow)}
	if err := s.setup(conf, d); err != nil {
		return nil, c.Errorf("%v", err)
	}
	return s, nil
}

func (s *sumo) setup(c sumoConfig, d Deps) error {
	u, err := parseURL("url", c.URL.Reveal())
	if err != nil {
		return err
	}
	if c.PastWindow <= 0 {
		return errors.New("past_window: must be positive")
	}
	if c.Timeout <= 0 {
		return errors.New("timeout: must be positive")
	}
	if u.Scheme == "http" {
		d.Log.Warn("events and the secret of the source go over plain http; use https outside the machine", "host", u.Host)
	}
	var fields []string
	for _, k := range slices.Sorted(maps.Keys(c.Fields)) {
		if k == "" || strings.ContainsAny(k+c.Fields[k], "=,") {
			return fmt.Errorf("fields: %q and its value must not hold = or a comma", k)
		}
		fields = append(fields, k+"="+c.Fields[k])
	}
	pairs := []string{"X-Sumo-Category", c.Category, "X-Sumo-Name", c.SourceName, "X-Sumo-Host", c.Host, "X-Sumo-Fields", strings.Join(fields, ",")}
	if err := checkHeaders(pairs...); err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	if !format.Object(c.Common.Format) {
		header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			header.Set(pairs[i], pairs[i+1])
		}
	}
	client, err := d.HTTP(c.TLS, c.Common.InFlight+1)
	if err != nil {
		return err
	}
	s.in = intake{who: "sumo", client: client, url: u.String(), header: header, gzip: c.Gzip, timeout: time.Duration(c.Timeout)}
	s.format, _ = format.Lookup(c.Common.Format)
	s.frame = frame{bytes: int(c.Common.Batch.MaxBytes)} // 1 MiB by default, the most that is advised
	return nil
}

// Write sends one request.
func (s *sumo) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	p, receipt, err := s.frame.fill(evs, s.encode, s.in.gzip)
	if err != nil {
		return receipt, err
	}
	defer p.release()
	a, err := s.in.post(ctx, p, "")
	if err != nil {
		return receipt, err
	}
	if kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); a.status != http.StatusOK || kind == "text/html" && len(a.body) > 0 {
		return receipt, s.failure(a)
	}
	return receipt, nil
}

func (s *sumo) encode(dst []byte, ev *schemas.Event) []byte { return append(s.format(dst, ev), '\n') }

// failure maps an answer. A source says nothing of the data, and its body may
// quote the URL.
func (s *sumo) failure(a answer) *WriteError {
	e := s.in.failure(a, "")
	if a.status == http.StatusUnauthorized || a.status == http.StatusNotFound {
		return e.hint("the source is gone or its URL was made anew: put the present one into url_file")
	}
	return e
}

// Window says what becomes of old events.
func (s *sumo) Window() (past time.Duration, what string) {
	return s.past, "Sumo Logic takes the time of arrival; the time stays in the event"
}

// Close drops idle connections.
func (s *sumo) Close() error {
	s.in.client.CloseIdleConnections()
	return nil
}
