package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // a client's default
)

// serveWire counts what comes by a protocol that is not HTTP, until stop.
func serveWire(t *tally, kind, addr string) (stop func(), err error) {
	if kind == "kafka" {
		return serveKafka(t, addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "syslog":
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go readSyslog(t, c)
			}
		}()
		return func() { l.Close() }, nil
	case "grpc":
		s := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.MaxRecvMsgSize(64<<20))
		s.RegisterService(&logsService, t)
		go func() { _ = s.Serve(l) }()
		return s.Stop, nil
	}
	l.Close()
	return nil, fmt.Errorf("unknown protocol %q", kind)
}

// readSyslog reads messages framed by octet counting (RFC 6587).
func readSyslog(t *tally, c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 1<<20)
	var message []byte
	for {
		size, err := r.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(size[:len(size)-1])
		if err != nil || n <= 0 || n > 1<<20 {
			return
		}
		if cap(message) < n {
			message = make([]byte, n)
		}
		if _, err := io.ReadFull(r, message[:n]); err != nil {
			return
		}
		t.count(message[:n])
	}
}

// raw is the codec that leaves messages as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append((*v.(*[]byte))[:0], b...)
	return nil
}

var _ encoding.Codec = raw{}

// logsService is OTLP's LogsService, whose answer is empty.
var logsService = grpc.ServiceDesc{
	ServiceName: "opentelemetry.proto.collector.logs.v1.LogsService",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: func(srv any, _ context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var b []byte
		if err := read(&b); err != nil {
			return nil, err
		}
		srv.(*tally).count(b)
		answer, err := plogotlp.NewExportResponse().MarshalProto()
		return &answer, err
	}}},
}

// kafkaTopic is what the broker of serveKafka has, with three partitions.
const kafkaTopic = "events"

// serveKafka answers to produce requests without keeping what is in them.
func serveKafka(t *tally, addr string) (stop func(), err error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(n), kfake.SeedTopics(3, kafkaTopic))
	if err != nil {
		return nil, err
	}
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		p, ok := req.(*kmsg.ProduceRequest)
		if !ok {
			return nil, errors.New("no produce request"), true
		}
		answer := p.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range p.Topics {
			out := kmsg.NewProduceResponseTopic()
			out.Topic, out.TopicID = topic.Topic, topic.TopicID
			for _, part := range topic.Partitions {
				t.count(part.Records)
				o := kmsg.NewProduceResponseTopicPartition()
				o.Partition = part.Partition
				out.Partitions = append(out.Partitions, o)
			}
			answer.Topics = append(answer.Topics, out)
		}
		return answer, nil, true
	})
	return c.Close, nil
}
