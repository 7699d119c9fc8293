package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/zeromicro/go-zero/core/proc"
	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/health" // the client side of healthCheckConfig
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver/dns"

	"shares/api"
	"shares/internal/admin"
	"shares/internal/config"
	"shares/internal/page"
	"shares/internal/process"
	"shares/internal/requestid"
	"shares/rpc"
	"shares/rpc/pb"
	"shares/simulator"
)

// serve runs both halves in one process.
func serve(ctx context.Context, file string) (err error) {
	p, err := load(file, config.RoleServe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	p.startTraces("shares")
	if err := p.lockData(); err != nil {
		return err
	}
	if err := errors.Join(p.openRedis(), p.openDatabase(ctx), p.openPictures(ctx), p.openSecrets(), p.openWechat()); err != nil {
		return err
	}
	users, err := p.userService()
	if err != nil {
		return err
	}
	return p.serveHTTP(ctx, users.Client())
}

// runAPI runs the HTTP edge alone; the user service is behind zRPC.
func runAPI(ctx context.Context, file string) (err error) {
	p, err := load(file, config.RoleAPI)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	p.startTraces("shares-api")
	if err := errors.Join(p.openRedis(), p.openPictures(ctx), p.openSecrets()); err != nil {
		return err
	}
	p.note("Users", p.config.RPCTarget)
	// gRPC looks names up again at most every 30 s, which is long for a rollout.
	dns.SetMinResolutionInterval(2 * time.Second)
	conf := zrpc.RpcClientConf{
		Target:       p.config.RPCTarget,
		NonBlock:     true,
		Timeout:      p.config.RPCTimeout.Milliseconds(),
		BalancerName: "round_robin",
	}
	conf.Middlewares.Timeout = true
	conf.Middlewares.Trace = p.config.OTLPEndpoint != ""
	client, err := zrpc.NewClient(conf, zrpc.WithUnaryClientInterceptor(requestid.UnaryClientInterceptor),
		zrpc.WithDialOption(grpc.WithDefaultServiceConfig(rpcServiceConfig)),
		// A node that dies says nothing: without pings its calls hang to their deadline.
		zrpc.WithDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true,
		})))
	if err != nil {
		return fmt.Errorf("WEIXIN_RPC_TARGET: %w", err)
	}
	p.rpc = client.Conn()
	p.rpc.Connect()
	p.onClose(p.rpc.Close)
	return p.serveHTTP(ctx, pb.NewWeixinClient(p.rpc))
}

// rpcServiceConfig has replicas that wind down get no more calls (they say
// NOT_SERVING to health checks), and repeats a read once that met one going.
const rpcServiceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"healthCheckConfig": {"serviceName": ""},
	"methodConfig": [{
		"name": [{"service": "weixin.Weixin", "method": "GetUser"}],
		"retryPolicy": {
			"maxAttempts": 2, "initialBackoff": "0.02s", "maxBackoff": "0.1s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}]
}`

// runRPC runs the user service alone.
func runRPC(ctx context.Context, file string) (err error) {
	p, err := load(file, config.RoleRPC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	p.startTraces("shares-rpc")
	if err := errors.Join(p.openRedis(), p.openDatabase(ctx), p.openPictures(ctx)); err != nil {
		return err
	}
	users, err := p.userService()
	if err != nil {
		return err
	}
	// zRPC panics where it cannot listen: look first.
	if l, err := net.Listen("tcp", p.config.RPCListen); err != nil {
		return fmt.Errorf("SHARES_RPC_LISTEN: %w", err)
	} else if err := l.Close(); err != nil {
		return err
	}
	server, err := users.Server()
	if err != nil {
		return err
	}
	ready, stopAdmin, err := p.startAdmin(ctx)
	if err != nil {
		return err
	}
	defer stopAdmin()
	p.say("shares rpc " + version + " on " + p.config.RPCListen)
	p.warnOfSchema(ctx)
	// go-zero's own listeners stop the server: WrapUpTime after the signal, and
	// by force WaitTime after it.
	proc.Setup(proc.ShutdownConf{WrapUpTime: max(p.config.Drain, time.Millisecond), WaitTime: p.config.Shutdown})
	// go-zero reads these without a lock when a signal comes; os/signal's own
	// lock orders this registration, and so Setup, before that.
	_, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	proc.AddWrapUpListener(func() { ready.Store(false) })
	server.Start()
	return nil
}

func (p *parts) userService() (*rpc.Service, error) {
	if err := p.openUsers(); err != nil {
		return nil, err
	}
	users, err := rpc.New(p.config, rpc.Parts{
		Users:    p.users,
		Redis:    p.redis,
		Pictures: p.pictures,
		Log:      p.log,
		Metrics:  p.metrics,
		Now:      time.Now,
	})
	if err != nil {
		return nil, err
	}
	p.onClose(func() error { users.Close(); return nil })
	return users, nil
}

// serveHTTP serves the edge until ctx ends, and then as long as it takes to
// finish, within the configured time.
func (p *parts) serveHTTP(ctx context.Context, users pb.WeixinClient) error {
	handler, err := api.Handler(p.config, api.Parts{
		Users:    users,
		Pictures: p.pictures,
		Redis:    p.redis,
		Secrets:  p.secrets,
		Log:      p.log,
		Metrics:  p.metrics,
		Now:      time.Now,
	})
	if err != nil {
		return err
	}
	if p.wechat != nil {
		// Other sites in the developer's browser have no business there.
		handler = beside(handler, "/simulator/", http.NewCrossOriginProtection().Handler(p.wechat.Control()))
	}
	if !p.config.Pro() {
		if handler, err = page.Handler(page.Options{Version: version, Simulated: p.wechat != nil}, handler); err != nil {
			return err
		}
		p.note("Page", "at / for a browser: a phone, the wire, and the API's description at /openapi.json")
	}
	listener, err := p.listen()
	if err != nil {
		return err
	}
	if err := p.tellDevRedis(); err != nil {
		return err
	}
	ready, stopAdmin, err := p.startAdmin(ctx)
	if err != nil {
		return err
	}
	defer stopAdmin()
	p.sayHello(listener.Addr())
	if p.db != nil {
		p.warnOfSchema(ctx)
	}

	// go-zero kills the process WaitTime after a signal; by then we are done.
	proc.SetTimeToForceQuit(p.config.Shutdown + 5*time.Second)
	go func() {
		<-ctx.Done()
		ready.Store(false)
	}()
	server := &process.HTTP{
		Handler:  handler,
		Listener: listener,
		Drain:    p.config.Drain,
		Grace:    p.config.Shutdown - p.config.Drain,
		Log:      p.log,
	}
	return server.Run(ctx)
}

// beside serves the paths under prefix by other. A ServeMux would redirect
// unclean paths by itself, in a form that is not ours.
func beside(handler http.Handler, prefix string, other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix) {
			other.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// fallbackPort is where dev mode goes when the documented port needs
// privileges that the user lacks.
const fallbackPort = 8082

func (p *parts) listen() (net.Listener, error) {
	host := p.host()
	address := net.JoinHostPort(host, strconv.Itoa(p.config.Port))
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EACCES) && !p.config.Pro() {
		p.note("Port", fmt.Sprintf("%d needs privileges that you lack: it is %d instead", p.config.Port, fallbackPort))
		listener, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(fallbackPort)))
	}
	if err != nil {
		return nil, fmt.Errorf("SHARES_HOST, SHARES_PORT: %w", err)
	}
	return listener, nil
}

// startAdmin serves health and metrics, if an address for them is set. The
// returned flag turns readiness off.
func (p *parts) startAdmin(ctx context.Context) (*atomic.Bool, func(), error) {
	ready := new(atomic.Bool)
	ready.Store(true)
	if p.config.AdminListen == "" {
		return ready, func() {}, nil
	}
	listener, err := net.Listen("tcp", p.config.AdminListen)
	if err != nil {
		return nil, nil, fmt.Errorf("SHARES_ADMIN_LISTEN: %w", err)
	}
	check := func(ctx context.Context) error {
		if !ready.Load() {
			return errors.New("shutting down")
		}
		return p.ready(ctx)
	}
	// The probes answer to the very end: a pod that winds down is unready, not dead.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	server := &process.HTTP{Handler: admin.Handler(check, p.metrics, p.log), Listener: listener, Grace: time.Second, Log: p.log}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Run(running) })
	return ready, func() { stop(); done.Wait() }, nil
}

// sayHello tells people where the service is, what it is made of and how to
// try it; machines get one log line.
func (p *parts) sayHello(address net.Addr) {
	_, port, _ := net.SplitHostPort(address.String())
	base := "http://localhost:" + port
	lines := "shares " + version + " on " + base
	if h := p.host(); h == "" {
		lines += " (all addresses)"
	}
	p.say(lines)
	if p.config.Pro() {
		return
	}
	code := `'{"jscode":"…"}'`
	if p.wechat != nil {
		code = fmt.Sprintf(`"$(curl -s %s/simulator/code -d '{"user":"alice"}' | sed 's/code/jscode/')"`, base)
	}
	fmt.Fprintf(os.Stderr, "\n  try it:   curl -s %s/shares/api/v1/weixin.oauth -H 'Content-Type: application/json' \\\n              -d %s\n\n", base, code)
}

func (p *parts) say(title string) {
	if p.config.Pro() {
		p.log.Info("started", "what", title, "parts", strings.Join(p.notes, "; "))
		return
	}
	fmt.Fprintf(os.Stderr, "\n%s\n\n", title)
	for _, n := range p.notes {
		fmt.Fprintf(os.Stderr, "  %s\n", n)
	}
}

// simulatorCommand is WeChat's API on a local port, for a service that runs
// elsewhere.
func simulatorCommand() *cobra.Command {
	var listen, appID, secret string
	var devCodes bool
	cmd := &cobra.Command{
		Use:   "simulator",
		Short: "run a simulated WeChat on a local port",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := process.Logger(os.Stderr, false, "info")
			if err != nil {
				return err
			}
			listener, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
			fmt.Fprintf(os.Stderr, "a simulated WeChat on http://%s\n\n  WECHAT_BASE_URL=http://%[1]s WECHAT_APPID=%s WECHAT_SECRET=%s\n\n  a login code:  curl -s http://%[1]s/simulator/code -d '{\"user\":\"alice\"}'\n\n",
				listener.Addr(), appID, secret)
			server := &process.HTTP{
				Handler:  simulator.New(simulator.Options{AppID: appID, Secret: secret, DevCodes: devCodes, Logger: log}),
				Listener: listener,
				Grace:    5 * time.Second,
				Log:      log,
			}
			return server.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8090", "address to listen on")
	cmd.Flags().StringVar(&appID, "appid", simulator.DefaultAppID, "the app it knows")
	cmd.Flags().StringVar(&secret, "secret", simulator.DefaultSecret, "the app's secret")
	cmd.Flags().BoolVar(&devCodes, "dev-codes", false, "log unknown 32-character codes in as one development user")
	return cmd
}
