package receivers

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// produceKey is the number of Kafka's request to append records.
const produceKey = 0

func openKafka(o Options) (*Receiver, error) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "audit"), kfake.ListenFn(func(string, string) (net.Listener, error) { return o.Listener, nil }))
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	n := 0
	c.ControlKey(produceKey, func(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive,staticcheck // the library's order
		c.KeepControl()
		mu.Lock()
		at := n
		n++
		mu.Unlock()
		code := codeOf(o.refusal(at))
		if code == 0 {
			return nil, nil, false
		}
		return refuseAll(req.(*kmsg.ProduceRequest), code), nil, true
	})
	return &Receiver{
		stop:   []func(){c.Close},
		Events: func() (map[string]int, error) { return onTopic(c.ListenAddrs(), o.Listener) },
		Fields: func(address, ca string) string {
			fields := "brokers: [\"" + address + "\"]\ntopic: audit\n"
			if ca != "" {
				fields += "tls: {ca_file: " + ca + "}\n"
			}
			return fields
		},
	}, nil
}

// codeOf is a refusal in the words of Kafka.
func codeOf(r Refusal) int16 {
	switch r {
	case Outage:
		return kerr.NotEnoughReplicas.Code
	case TooLarge:
		return kerr.MessageTooLarge.Code
	case Denied:
		return kerr.TopicAuthorizationFailed.Code
	}
	return 0
}

func refuseAll(req *kmsg.ProduceRequest, code int16) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// onTopic reads the topic up to its end and returns the ids in it.
func onTopic(brokers []string, l net.Listener) (map[string]int, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("audit"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	if f, ok := l.(*Front); ok && f.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})) //nolint:gosec // the sink is what is tested
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	out := map[string]int{}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		got := cl.PollFetches(ctx)
		cancel()
		if err := got.Err(); errors.Is(err, context.DeadlineExceeded) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		for _, r := range got.Records() {
			for _, h := range r.Headers {
				if h.Key == "event_id" {
					out[string(h.Value)]++
				}
			}
		}
	}
}
