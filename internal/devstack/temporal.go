package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/membership/static"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	namespace   = client.DefaultNamespace
	retention   = 365 * 24 * time.Hour // of finished runs' histories
	clusterName = "active"
	healthPause = 10 * time.Millisecond
	ackInterval = 2 * time.Second
)

// searchAttributes are the keywords every run sets; pipeline names them too.
var searchAttributes = map[string]enums.IndexedValueType{
	"DistilvitModel": enums.INDEXED_VALUE_TYPE_KEYWORD,
	"DistilvitStage": enums.INDEXED_VALUE_TYPE_KEYWORD,
}

// temporalServer is Temporal's server with its web UI, in this process.
type temporalServer struct {
	server temporal.Server
	ui     *webUI
	level  *slog.LevelVar
}

// temporalConfig says where a temporalServer listens and keeps its state.
type temporalConfig struct {
	database  string
	clusterID string
	frontend  string // host:port, as all of these
	ui        string
	internal  [3]string // history, matching, worker
	log       io.Writer
}

// start runs the server and the UI until both answer.
func (c temporalConfig) start(ctx context.Context) (_ *temporalServer, err error) {
	database := databaseSettings(c.database)
	if err := c.setupDatabase(database); err != nil {
		return nil, err
	}
	t := &temporalServer{level: new(slog.LevelVar)}
	t.level.Set(slog.LevelWarn)
	if t.server, err = temporal.NewServer(c.options(database, t.level)...); err != nil {
		return nil, fmt.Errorf("temporal server: %w", err)
	}
	if err := t.server.Start(); err != nil {
		return nil, fmt.Errorf("start temporal server: %w", err)
	}
	if t.ui, err = startUI(c.ui, c.frontend); err != nil {
		return nil, errors.Join(err, t.server.Stop())
	}
	if err := c.await(ctx); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// databaseSettings are how SQLite opens a file.
func databaseSettings(path string) *config.SQL {
	return &config.SQL{
		PluginName:        sqliteplugin.PluginName,
		DatabaseName:      escapePath(path),
		ConnectAttributes: map[string]string{"mode": "rwc"},
	}
}

// createDatabase makes a database without runs, complete or not at all.
func createDatabase(path string) error {
	fresh := path + ".new"
	for _, leftover := range []string{fresh, fresh + "-journal"} {
		if err := os.Remove(leftover); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := sqliteschema.SetupSchema(databaseSettings(fresh)); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := os.Chmod(fresh, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// setupDatabase makes the file and the namespace where they are not there.
func (c temporalConfig) setupDatabase(database *config.SQL) error {
	if _, err := os.Stat(c.database); errors.Is(err, fs.ErrNotExist) {
		if err := createDatabase(c.database); err != nil {
			return err
		}
	}
	ns, err := sqliteschema.NewNamespaceConfig(clusterName, namespace, false, searchAttributes)
	if err != nil {
		return fmt.Errorf("temporal namespace: %w", err)
	}
	ns.Detail.Config.Retention = durationpb.New(retention)
	if err := sqliteschema.CreateNamespaces(database, ns); err != nil {
		return fmt.Errorf("open %s: %w", c.database, err)
	}
	return nil
}

func (c temporalConfig) options(database *config.SQL, level *slog.LevelVar) []temporal.ServerOption {
	addresses := map[primitives.ServiceName]string{
		primitives.FrontendService: c.frontend,
		primitives.HistoryService:  c.internal[0],
		primitives.MatchingService: c.internal[1],
		primitives.WorkerService:   c.internal[2],
	}
	hosts := map[primitives.ServiceName]static.Hosts{}
	services := map[string]config.Service{}
	for name, address := range addresses {
		hosts[name] = static.SingleLocalHost(address)
		services[string(name)] = config.Service{
			RPC: config.RPC{GRPCPort: portOf(address), BindOnIP: loopback},
		}
	}
	const store, off = "sqlite", "disabled"
	server := &config.Config{
		Global: config.Global{
			Membership: config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: loopback},
		},
		Persistence: config.Persistence{
			DefaultStore:     store,
			VisibilityStore:  store,
			NumHistoryShards: 1, // fixed for the life of the file
			DataStores:       map[string]config.DataStore{store: {SQL: database}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {
					Enabled: true, InitialFailoverVersion: 1, RPCAddress: c.frontend, ClusterID: c.clusterID,
				},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services:            services,
		Archival: config.Archival{
			History: config.HistoryArchival{State: off}, Visibility: config.VisibilityArchival{State: off},
		},
		PublicClient: config.PublicClient{HostPort: c.frontend},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: off},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: off},
		}},
	}
	logger := quietLogger{slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: level}))}
	return []temporal.ServerOption{
		temporal.WithConfig(server),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithDynamicConfigClient(dynamicconfig.StaticClient{
			dynamicconfig.HistoryCacheHostLevelMaxSize.Key():                 8192,
			dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 100,
			dynamicconfig.ForceSearchAttributesCacheRefreshOnRead.Key():      true,
			// A closed workflow is deleted only once these have caught up, by default after half a minute.
			dynamicconfig.TransferProcessorUpdateAckInterval.Key():   ackInterval,
			dynamicconfig.VisibilityProcessorUpdateAckInterval.Key(): ackInterval,
		}),
	}
}

// await returns once the frontend knows the namespace with its search
// attributes and the UI answers.
func (c temporalConfig) await(ctx context.Context) error {
	tick := time.NewTicker(healthPause)
	defer tick.Stop()
	for {
		err := c.probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("temporal server does not become ready: %w (last: %w)", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func (c temporalConfig) probe(ctx context.Context) error {
	temporalClient, err := client.DialContext(ctx, client.Options{
		HostPort: c.frontend, Namespace: namespace, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer temporalClient.Close()
	operator := temporalClient.OperatorService()
	known, err := operator.ListSearchAttributes(
		ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace},
	)
	if err != nil {
		return err
	}
	missing := map[string]enums.IndexedValueType{}
	for name, kind := range searchAttributes {
		if _, ok := known.CustomAttributes[name]; !ok {
			missing[name] = kind
		}
	}
	if len(missing) > 0 {
		_, err := operator.AddSearchAttributes(
			ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing},
		)
		if err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.ui+"/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("web UI answers %s", response.Status)
	}
	return nil
}

// stop ends the UI, then the server.
func (t *temporalServer) stop() error {
	t.level.Set(slog.LevelError + 4) // the end is told as a row of failures
	err := t.ui.stop()
	if stopped := t.server.Stop(); stopped != nil {
		err = errors.Join(err, fmt.Errorf("stop temporal server: %w", stopped))
	}
	return err
}

// quietLogger writes the server's log to ours. The server's fatal errors are
// errors only: it shares our process.
type quietLogger struct{ log *slog.Logger }

func (l quietLogger) Debug(msg string, tags ...tag.Tag)  { l.write(slog.LevelDebug, msg, tags) }
func (l quietLogger) Info(msg string, tags ...tag.Tag)   { l.write(slog.LevelInfo, msg, tags) }
func (l quietLogger) Warn(msg string, tags ...tag.Tag)   { l.write(slog.LevelWarn, msg, tags) }
func (l quietLogger) Error(msg string, tags ...tag.Tag)  { l.write(slog.LevelError, msg, tags) }
func (l quietLogger) DPanic(msg string, tags ...tag.Tag) { l.write(slog.LevelError, msg, tags) }
func (l quietLogger) Panic(msg string, tags ...tag.Tag)  { l.write(slog.LevelError, msg, tags) }
func (l quietLogger) Fatal(msg string, tags ...tag.Tag)  { l.write(slog.LevelError, msg, tags) }

// SLog is how the server hands its logger to the SDK it contains.
func (l quietLogger) SLog() *slog.Logger { return l.log }

func (l quietLogger) write(level slog.Level, msg string, tags []tag.Tag) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	attributes := make([]slog.Attr, len(tags))
	for i, t := range tags {
		attributes[i] = slog.Any(t.Key(), t.Value())
	}
	l.log.LogAttrs(ctx, level, msg, attributes...)
}
