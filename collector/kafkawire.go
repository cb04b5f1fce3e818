package collector

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"
)

// kafka-go decodes the records of a fetch itself and then keeps back what we
// need to know of them: see kafkaBatch. These messages take the place of its
// own for the fetch API and leave the records as they are. kafka.Client.Fetch
// and kafka.Reader must not be used in this program.
func init() { protocol.Register(&fetchRequest{}, &fetchResponse{}) }

type fetchRequest struct {
	ReplicaID      int32            `kafka:"min=v0,max=v11"`
	MaxWaitTime    int32            `kafka:"min=v0,max=v11"`
	MinBytes       int32            `kafka:"min=v0,max=v11"`
	MaxBytes       int32            `kafka:"min=v3,max=v11"`
	IsolationLevel int8             `kafka:"min=v4,max=v11"`
	SessionID      int32            `kafka:"min=v7,max=v11"`
	SessionEpoch   int32            `kafka:"min=v7,max=v11"`
	Topics         []fetchTopic     `kafka:"min=v0,max=v11"`
	Forgotten      []fetchForgotten `kafka:"min=v7,max=v11"`
	RackID         string           `kafka:"min=v11,max=v11"`
}

type fetchTopic struct {
	Topic      string           `kafka:"min=v0,max=v11"`
	Partitions []fetchPartition `kafka:"min=v0,max=v11"`
}

type fetchPartition struct {
	Partition          int32 `kafka:"min=v0,max=v11"`
	CurrentLeaderEpoch int32 `kafka:"min=v9,max=v11"`
	FetchOffset        int64 `kafka:"min=v0,max=v11"`
	LogStartOffset     int64 `kafka:"min=v5,max=v11"`
	PartitionMaxBytes  int32 `kafka:"min=v0,max=v11"`
}

type fetchForgotten struct {
	Topic      string  `kafka:"min=v7,max=v11"`
	Partitions []int32 `kafka:"min=v7,max=v11"`
}

type fetchResponse struct {
	ThrottleTimeMs int32          `kafka:"min=v1,max=v11"`
	ErrorCode      int16          `kafka:"min=v7,max=v11"`
	SessionID      int32          `kafka:"min=v7,max=v11"`
	Topics         []fetchedTopic `kafka:"min=v0,max=v11"`
}

type fetchedTopic struct {
	Topic      string             `kafka:"min=v0,max=v11"`
	Partitions []fetchedPartition `kafka:"min=v0,max=v11"`
}

type fetchedPartition struct {
	Partition            int32          `kafka:"min=v0,max=v11"`
	ErrorCode            int16          `kafka:"min=v0,max=v11"`
	HighWatermark        int64          `kafka:"min=v0,max=v11"`
	LastStableOffset     int64          `kafka:"min=v4,max=v11"`
	LogStartOffset       int64          `kafka:"min=v5,max=v11"`
	AbortedTransactions  []abortedFrom  `kafka:"min=v4,max=v11"`
	PreferredReadReplica int32          `kafka:"min=v11,max=v11"`
	Records              fetchedRecords `kafka:"min=v0,max=v11"`
}

type abortedFrom struct {
	ProducerID  int64 `kafka:"min=v4,max=v11"`
	FirstOffset int64 `kafka:"min=v4,max=v11"`
}

// ApiKey implements protocol.Message.
func (*fetchRequest) ApiKey() protocol.ApiKey { return protocol.Fetch } //nolint:revive // the name is kafka-go's

// ApiKey implements protocol.Message.
func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch } //nolint:revive // the name is kafka-go's

// Broker sends the request to the leader of its one partition.
func (r *fetchRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	topic, id := r.Topics[0].Topic, r.Topics[0].Partitions[0].Partition
	p, ok := c.Topics[topic].Partitions[id]
	if !ok {
		return protocol.Broker{}, fmt.Errorf("the cluster does not know %s/%d", topic, id)
	}
	b, ok := c.Brokers[p.Leader]
	if !ok {
		return protocol.Broker{}, fmt.Errorf("%s/%d has no leader", topic, id)
	}
	return b, nil
}

// maxFetched caps what is kept of one answer. A broker sends at least one whole
// batch, however large.
const maxFetched = 64 << 20

// fetchedRecords are the batches of an answer as they came.
type fetchedRecords []byte

// ReadFrom reads the length and the batches, and skips what is too much.
func (f *fetchedRecords) ReadFrom(r io.Reader) (int64, error) {
	var head [4]byte
	if n, err := io.ReadFull(r, head[:]); err != nil {
		return int64(n), err
	}
	*f = nil
	size := int64(int32(binary.BigEndian.Uint32(head[:])))
	if size <= 0 {
		return 4, nil
	}
	*f = make([]byte, min(size, maxFetched))
	n, err := io.ReadFull(r, *f)
	if err != nil {
		return 4 + int64(n), err
	}
	skipped, err := io.CopyN(io.Discard, r, size-int64(n))
	return 4 + int64(n) + skipped, err
}
