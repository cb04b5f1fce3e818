package receivers

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/parquet-go/parquet-go"

	"github.com/agentrail/agentrail/sinks/sinktest"
)

func bucket() *sinktest.S3 {
	return &sinktest.S3{Bucket: "evidence", AccessKey: func(int) string { return "AK" }}
}

func (o Options) bucketFields(more string) func(address, ca string) string {
	return func(address, ca string) string {
		url, trust := endpoint(address, ca)
		return "bucket: evidence\nregion: us-east-1\npath_style: true\naccess_key: AK\nsecret_key_file: " + o.keep("secret", secret) + "\nendpoint: " + url + "\n" + more + trust
	}
}

func openS3(o Options) (*Receiver, error) {
	s := bucket()
	return serve(o, s, &Receiver{
		Fields: o.bucketFields(""), Violations: s.Violations,
		Events: func() (map[string]int, error) {
			objects, err := s.Lines()
			out := map[string]int{}
			for _, lines := range objects {
				for _, l := range lines {
					out[eventID([]byte(l))]++
				}
			}
			return out, err
		},
	})
}

// openLake is a bucket that is asked for the rows of its Parquet files.
func openLake(o Options) (*Receiver, error) {
	s := bucket()
	return serve(o, http.Handler(s), &Receiver{
		Fields: o.bucketFields("layout: security_lake\nlake: {account: \"123456789012\"}\n"), Violations: s.Violations,
		Events: func() (map[string]int, error) {
			out := map[string]int{}
			for key, file := range s.Objects() {
				rows, err := parquet.Read[lakeRow](bytes.NewReader(file), int64(len(file)))
				if err != nil {
					return nil, fmt.Errorf("read %s: %w", key, err)
				}
				for _, r := range rows {
					out[r.Metadata.UID]++
				}
			}
			return out, nil
		},
	})
}

// lakeRow is the id of an event in OCSF.
type lakeRow struct {
	Metadata struct {
		UID string `parquet:"uid"`
	} `parquet:"metadata"`
}
