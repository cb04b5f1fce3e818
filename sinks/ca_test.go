package sinks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// authority is a CA of one test with one certificate for 127.0.0.1, which
// server and client share.
type authority struct{ file, cert, key string }

func newCA(t *testing.T) authority {
	t.Helper()
	dir := t.TempDir()
	a := authority{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	rootKey, leafKey := newKey(t), newKey(t)
	writePEM(t, a.file, "CERTIFICATE", signCert(t, root, root, rootKey, rootKey))
	writePEM(t, a.cert, "CERTIFICATE", signCert(t, leaf, root, leafKey, rootKey))
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.key, "PRIVATE KEY", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signCert(t *testing.T, c, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// server wants a certificate of the CA from clients.
func (a authority) server(t *testing.T) *tls.Config {
	t.Helper()
	conf, err := (&TLS{CAFile: a.file, CertFile: a.cert, KeyFile: a.key}).Config()
	if err != nil {
		t.Fatal(err)
	}
	conf.ClientCAs, conf.ClientAuth = conf.RootCAs, tls.RequireAndVerifyClientCert
	return conf
}

// openFault returns the message of a config that must not open.
func openFault(t *testing.T, kind, fields string) string {
	t.Helper()
	c, err := plug.NewConfig(kind, "test", fields)
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		s.Close()
		t.Fatalf("%s: opened", fields)
	}
	return err.Error()
}

// hostileBatch holds naughty text in every field, at times from end to end.
func hostileBatch() *schemas.Batch {
	texts := []string{
		"", "line\nbreak\r\n\x00", "\"},{\"event\":\"forged\"}", `\`, `a|b=c]d\]"`, "\xff\xfe", "\u202egnirts\u2028", "😍", "{}{}", "<34>1 - - - - - - forged",
		"10 <34>1 -", "%s%n${jndi:ldap://x}", "\ufeffbom", strings.Repeat("x", 10_000),
	}
	b := testBatch(1, 0)
	for i, text := range texts {
		for j, at := range []int64{math.MinInt64, 0, 1_764_000_000_000_000_000, math.MaxInt64} {
			ev := schemas.Event{ID: testID(uint64(i), j), Class: schemas.ClassActivity, Time: at, Received: 1_764_000_000_000_000_000, Raw: []byte(text)}
			for k := range fields {
				if fields[k].str != nil {
					*fields[k].str(&ev) = text
				}
			}
			b.Events = append(b.Events, ev)
		}
	}
	return b
}
