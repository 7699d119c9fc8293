package app

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"shares/internal/config"
	"shares/internal/devhost"
	"shares/internal/process"
	"shares/simulator"
)

// simulatorCommand returns `shares simulator`, which serves WeChat's API on a local port.
func simulatorCommand() *cobra.Command {
	var listen string
	var o simulator.Options
	cmd := &cobra.Command{
		Use:   "simulator",
		Short: "run a simulated WeChat on a local port",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, _ := process.Logger(os.Stderr, false, "info")
			listener, err := net.Listen("tcp", listen)
			if err != nil {
				return listenError("--listen", err)
			}
			fmt.Fprintf(os.Stderr, "a simulated WeChat on http://%s\n\n"+
				"  WECHAT_BASE_URL=http://%[1]s WECHAT_APPID=%s WECHAT_SECRET=%s\n\n"+
				"  a login code:  curl -s http://%[1]s/simulator/code -d '{\"user\":\"alice\"}'\n\n",
				listener.Addr(), o.AppID, o.Secret)
			o.Logger = log
			wechat := simulator.New(o)
			stop := background(listener, guardControl(wechat, listener.Addr().(*net.TCPAddr).IP.IsLoopback()))
			<-cmd.Context().Done()
			return stop()
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8090", "address to listen on")
	cmd.Flags().StringVar(&o.AppID, "appid", simulator.DefaultAppID, "the app's AppID")
	cmd.Flags().StringVar(&o.Secret, "secret", simulator.DefaultSecret, "the app's secret")
	cmd.Flags().StringVar(&o.Push.URL, "push-url", "", "the push address of the service")
	cmd.Flags().StringVar(&o.Push.Token, "push-token", simulator.DefaultPushToken, "WECHAT_PUSH_TOKEN of the service")
	cmd.Flags().StringVar(&o.Push.AESKey, "push-aes-key", simulator.DefaultPushAESKey, "WECHAT_PUSH_AES_KEY of the service")
	cmd.Flags().BoolVar(&o.DevCodes, "dev-codes", false, "log unknown 32-character codes in as one development user")
	return cmd
}

const controlPrefix = "/simulator/"

// guardControl protects the simulator's control paths from web pages. It refuses requests with an
// Origin and, on loopback, requests whose Host is not local (DNS rebinding).
func guardControl(wechat http.Handler, loopback bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, controlPrefix) &&
			(r.Header.Get("Origin") != "" || loopback && !devhost.Allowed(r.Host, devhost.Machine())) {
			http.Error(w, "the control paths refuse web pages and, on loopback, host names that are not local",
				http.StatusForbidden)
			return
		}
		wechat.ServeHTTP(w, r)
	})
}

const simulatedWechat = "simulated, logs anyone in (set WECHAT_APPID and WECHAT_SECRET)"

func (p *program) openWechat() error {
	if p.config.WechatAppID != "" {
		p.parts = append(p.parts, part{"WeChat", p.config.WechatBaseURL, p.checkWechat})
		return nil
	}
	p.wechat = simulator.New(simulator.Options{DevCodes: true, Logger: p.log, Push: simulator.Push{
		Token: string(p.config.PushToken), AESKey: string(p.config.PushAESKey),
	}})
	p.config.WechatAppID, p.config.WechatSecret = simulator.DefaultAppID, config.Secret(simulator.DefaultSecret)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	p.onClose(background(listener, guardControl(p.wechat, true)))
	p.config.WechatBaseURL = "http://" + listener.Addr().String()
	if p.config.PushToken == "" {
		p.config.PushToken, p.config.PushAESKey = simulator.DefaultPushToken, simulator.DefaultPushAESKey
	}
	p.addPart("WeChat", simulatedWechat)
	return nil
}

// host returns the host to listen on. Beside the simulator, which logs anyone in, the default is
// loopback.
func (p *program) host() string {
	if p.wechat != nil {
		if h := p.config.Host; h != "" && h != "127.0.0.1" && h != "localhost" && h != "::1" {
			p.log.Warn("SHARES_HOST exposes a service with a simulated WeChat: " +
				"every caller can log in as any user")
		}
		return cmp.Or(p.config.Host, "127.0.0.1")
	}
	return p.config.Host
}
