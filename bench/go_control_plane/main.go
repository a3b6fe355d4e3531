// A server on go-control-plane's snapshot cache, to compare with: the same resources for every client.
//
// Commands come on standard input as JSON, one a line, and each is answered by one line. The first says what to serve
// and where; see bench/opponents.py.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cache "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/anypb"
)

const everybody = "everybody"

type everyNode struct{}

func (everyNode) ID(*core.Node) string { return everybody }

type resource struct {
	TypeURL string `json:"type_url"`
	Value   []byte `json:"value"`
}

type command struct {
	Certificate string    `json:"certificate"`
	Key         string    `json:"key"`
	Resources   string    `json:"resources"`
	Change      *resource `json:"change"`
	Acks        int64     `json:"acks"`
}

type reply struct {
	Port int   `json:"port,omitempty"`
	At   int64 `json:"at,omitempty"`
}

// answers counts the requests that answer a response, and knows when the last one came.
type answers struct{ count, last atomic.Int64 }

func (a *answers) hear(nonce string) error {
	if nonce != "" {
		a.last.Store(time.Now().UnixNano())
		a.count.Add(1)
	}
	return nil
}

func main() {
	input, output := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	var first command
	check(read(input, &first))
	held := map[types.ResponseType]map[string]types.Resource{}
	file, err := os.Open(first.Resources)
	check(err)
	for lines := bufio.NewReader(file); ; {
		var one resource
		if read(lines, &one) != nil {
			break
		}
		put(held, one)
	}
	snapshots := cache.NewSnapshotCache(true, everyNode{}, nil)
	present := &cache.Snapshot{}
	for kind := range held {
		present.Resources[kind] = group(held[kind], 0)
	}
	check(snapshots.SetSnapshot(context.Background(), everybody, present))

	var heard answers
	server := xds.NewServer(context.Background(), snapshots, xds.CallbackFuncs{
		StreamRequestFunc: func(_ int64, request *discovery.DiscoveryRequest) error {
			return heard.hear(request.GetResponseNonce())
		},
		StreamDeltaRequestFunc: func(_ int64, request *discovery.DeltaDiscoveryRequest) error {
			return heard.hear(request.GetResponseNonce())
		},
	})
	tls, err := credentials.NewServerTLSFromFile(first.Certificate, first.Key)
	check(err)
	service := grpc.NewServer(grpc.Creds(tls))
	discovery.RegisterAggregatedDiscoveryServiceServer(service, server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { check(service.Serve(listener)) }()
	check(output.Encode(reply{Port: listener.Addr().(*net.TCPAddr).Port}))

	for version := 1; ; version++ {
		var next command
		if read(input, &next) != nil {
			return
		}
		if next.Change == nil {
			for heard.count.Load() < next.Acks {
				time.Sleep(200 * time.Microsecond)
			}
			check(output.Encode(reply{At: heard.last.Load()}))
			continue
		}
		kind := put(held, *next.Change)
		heard.count.Store(0)
		began := time.Now().UnixNano()
		// Only the type that changes gets another version; no response of any other type is due.
		snapshot := &cache.Snapshot{Resources: present.Resources}
		snapshot.Resources[kind] = group(held[kind], version)
		check(snapshots.SetSnapshot(context.Background(), everybody, snapshot))
		present = snapshot
		check(output.Encode(reply{At: began}))
	}
}

func put(held map[types.ResponseType]map[string]types.Resource, one resource) types.ResponseType {
	packed := &anypb.Any{TypeUrl: one.TypeURL, Value: one.Value}
	message, err := packed.UnmarshalNew()
	check(err)
	kind := cache.GetResponseType(one.TypeURL)
	if held[kind] == nil {
		held[kind] = map[string]types.Resource{}
	}
	held[kind][cache.GetResourceName(message)] = message
	return kind
}

func group(held map[string]types.Resource, version int) cache.Resources {
	items := make([]types.Resource, 0, len(held))
	for _, one := range held {
		items = append(items, one)
	}
	return cache.NewResources(strconv.Itoa(version), items)
}

func read(from *bufio.Reader, to any) error {
	line, err := from.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, to)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
