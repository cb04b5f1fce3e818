//go:build integration

package collector_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestBucketOfMinIO reads objects of a MinIO that checks signatures.
func TestBucketOfMinIO(t *testing.T) {
	binary := os.Getenv("AGENTRAIL_MINIO")
	if binary == "" {
		t.Fatal("AGENTRAIL_MINIO is not set; deploy/integration/s3.sh builds the server and sets it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(binary, "server", "--quiet", "--address", addr, "--console-address", "127.0.0.1:0", t.TempDir())
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER=agentrail", "MINIO_ROOT_PASSWORD=correct-horse", "MINIO_UPDATE=off", "HOME="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
	client := s3.New(s3.Options{
		Region: "us-east-1", UsePathStyle: true, BaseEndpoint: aws.String("http://" + addr), HTTPClient: http.DefaultClient,
		Credentials: credentials.NewStaticCredentialsProvider("agentrail", "correct-horse", ""),
	})
	up := func() bool {
		_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("logs")})
		return err == nil
	}
	for end := time.Now().Add(time.Minute); !up(); {
		if time.Now().After(end) {
			t.Fatal("the server does not come up")
		}
	}
	put := func(key string, body []byte) {
		t.Helper()
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("logs"), Key: &key, Body: bytes.NewReader(body)}); err != nil {
			t.Fatal(err)
		}
	}
	put("a/1.gz", zipped(t, record("a")+"\n"))
	put("a/2", watched(t, "DATA_MESSAGE", record("b"), record("c")))
	put("b/3", []byte(record("other")))
	t.Setenv("S3_SECRET", "correct-horse")
	fields := "bucket: logs\nregion: us-east-1\npath_style: true\naccess_key: agentrail\nsecret_key: ${env:S3_SECRET}\nevery: 1s\nprefix: a/\nendpoint: http://" + addr
	dir := t.TempDir()
	got := runSource(t, dir, "s3", fields, newTold(), 3)
	slices.Sort(got)
	if want := []string{record("a"), record("b"), record("c")}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	put("a/0", []byte(record("d")))
	if got := runSource(t, dir, "s3", fields, newTold(), 1); got[0] != record("d") {
		t.Errorf("the second time: %q, want only what is new", got)
	}
}
