package receivers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates are what a Front shows: one of an authority that clients are
// told to trust, and one of another.
type Certificates struct {
	CAFile string // PEM of the authority to trust

	good, bad *tls.Config
}

// NewCertificates makes them for this machine. Protocols is what TLS agrees on
// (ALPN): h2 for gRPC.
func NewCertificates(dir string, protocols ...string) (*Certificates, error) {
	c := &Certificates{CAFile: filepath.Join(dir, "ca.pem")}
	for i, to := range []**tls.Config{&c.good, &c.bad} {
		root, pair, err := issue()
		if err != nil {
			return nil, fmt.Errorf("make certificates: %w", err)
		}
		*to = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: protocols}
		if i > 0 {
			break
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
		if err := os.WriteFile(c.CAFile, text, 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Certificates) config(stranger bool) *tls.Config {
	if stranger {
		return c.bad
	}
	return c.good
}

// issue makes an authority and a certificate for 127.0.0.1 of it.
func issue() (root []byte, pair tls.Certificate, err error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, pair, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, pair, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if root, err = x509.CreateCertificate(rand.Reader, ca, ca, &rootKey.PublicKey, rootKey); err != nil {
		return nil, pair, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, rootKey)
	if err != nil {
		return nil, pair, err
	}
	return root, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey}, nil
}
