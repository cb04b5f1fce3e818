package receivers

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"sync"
)

// quiet takes what servers complain of: faults are what they are there for.
var quiet = log.New(io.Discard, "", 0)

// accountKey is made once: it takes long.
var accountKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// serviceAccount is the key file of a service account of Google whose tokens
// come from url.
func serviceAccount(url string) ([]byte, error) {
	key, err := accountKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{
		"type": "service_account", "client_email": "soc@p1.iam.gserviceaccount.com", "private_key_id": "k1", "token_uri": url,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
}
