package receivers

import (
	"compress/gzip"
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // what the sink compresses with
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// logs is a receiver of OTLP logs by either protocol.
type logs struct {
	plogotlp.UnimplementedGRPCServer
	o Options

	mu  sync.Mutex
	n   int
	ids map[string]int
}

// take stores the events unless one of them is refused.
func (l *logs) take(req plogotlp.ExportRequest) bool {
	got := map[string]int{}
	for _, rl := range req.Logs().ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				if l.o.refused([]byte(r.Body().Str())) {
					return false
				}
				id, _ := r.Attributes().Get("log.record.uid")
				got[id.Str()]++
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range got {
		l.ids[id] += n
	}
	return true
}

func (l *logs) events() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]int{}
	maps.Copy(out, l.ids)
	return out
}

// ServeHTTP takes a request over HTTP.
func (l *logs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, "not gzip", http.StatusBadRequest)
			return
		}
		body = z
	}
	doc, err := io.ReadAll(body)
	req := plogotlp.NewExportRequest()
	if err != nil || req.UnmarshalProto(doc) != nil || r.URL.Path != "/v1/logs" || !l.take(req) {
		http.Error(w, "not taken", http.StatusBadRequest)
		return
	}
	out, err := plogotlp.NewExportResponse().MarshalProto()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(out)
}

// Export takes a request over gRPC.
func (l *logs) Export(_ context.Context, req plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	l.mu.Lock()
	n := l.n
	l.n++
	l.mu.Unlock()
	resp := plogotlp.NewExportResponse()
	if err := said(l.o.refusal(n)); err != nil {
		return resp, err
	}
	if !l.take(req) {
		return resp, status.Error(codes.InvalidArgument, "one of the records is not valid")
	}
	return resp, nil
}

// said is a refusal in the words of gRPC.
func said(r Refusal) error {
	switch r {
	case Outage:
		return status.Error(codes.Internal, "a fault of the receiver")
	case Busy:
		return again(time.Second)
	case Absurd:
		return again(1 << 62)
	case TooLarge:
		return status.Error(codes.ResourceExhausted, "grpc: received message larger than max (2 vs. 1)")
	case Denied:
		return status.Error(codes.Unauthenticated, "the token has expired")
	case Taken, Garbled:
	}
	return nil
}

func again(after time.Duration) error {
	st, err := status.New(codes.ResourceExhausted, "too many requests").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	if err != nil {
		return err
	}
	return st.Err()
}

func openOTLPOverHTTP(o Options) (*Receiver, error) {
	l := &logs{o: o, ids: map[string]int{}}
	return serve(o, l, &Receiver{
		Events: counted(l.events),
		Fields: func(address, ca string) string {
			url, more := endpoint(address, ca)
			return "url: " + url + "\n" + more
		},
	})
}

func openOTLPOverGRPC(o Options) (*Receiver, error) {
	l := &logs{o: o, ids: map[string]int{}}
	srv := grpc.NewServer()
	plogotlp.RegisterGRPCServer(srv, l)
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(o.Listener) })
	return &Receiver{
		stop: []func(){func() {
			srv.Stop()
			_ = o.Listener.Close()
			done.Wait()
		}},
		Events: counted(l.events),
		Fields: func(address, ca string) string {
			url, more := endpoint(address, ca)
			return "protocol: grpc\nurl: " + url + "\n" + more
		},
	}, nil
}
