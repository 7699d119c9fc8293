// Command orders is an example of a go-zero service whose users are those of shares.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/rest"
	"github.com/zeromicro/go-zero/rest/httpx"
)

// orders takes orders and sends their users a message.
type orders struct {
	wechat, token, template string
	last                    atomic.Int64
}

func main() {
	var o orders
	var c rest.RestConf
	if err := conf.FillDefault(&c); err != nil {
		log.Fatal(err)
	}
	c.Name, c.Host = "orders", "127.0.0.1"
	c.Middlewares.Log = false // it logs requests with their session when it answers 5xx
	flag.IntVar(&c.Port, "port", 8888, "port to listen on")
	flag.StringVar(&o.template, "template", "", "id of the subscription message's template")
	flag.StringVar(&o.wechat, "wechat", "http://127.0.0.1:8084", "internal port of shares serve or rpc")
	shares := flag.String("auth", "http://127.0.0.1:8084", "internal port of shares serve or api")
	flag.Parse()
	o.token = os.Getenv("SHARES_TOKEN")
	known, err := auth(*shares)
	if err != nil {
		log.Fatal(err)
	}
	server := rest.MustNewServer(c)
	defer server.Stop()
	server.AddRoute(rest.Route{Method: http.MethodPost, Path: "/orders", Handler: known(o.create)})
	fmt.Printf("Starting server at %s:%d...\n", c.Host, c.Port)
	server.Start()
}

func (o *orders) create(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Item string `json:"item"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || in.Item == "" {
		http.Error(w, "item is required", http.StatusBadRequest)
		return
	}
	user := r.Context().Value(openid{}).(string)
	id := o.last.Add(1)
	// An order counts even if its message cannot be sent.
	httpx.OkJson(w, map[string]any{"id": id, "openid": user, "message": o.tell(user, in.Item)})
}

// tell sends a subscription message and returns "sent", or why it was not sent.
func (o *orders) tell(user, item string) string {
	body, err := json.Marshal(map[string]any{
		"touser": user, "template_id": o.template, "data": map[string]any{"thing1": map[string]string{"value": item}},
	})
	if err != nil {
		return err.Error()
	}
	req, err := http.NewRequest(http.MethodPost, o.wechat+"/wechat/cgi-bin/message/subscribe/send", bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "no answer"
	}
	defer resp.Body.Close()
	var said struct {
		Errcode int    `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || resp.StatusCode != http.StatusOK || said.Errcode != 0 {
		return fmt.Sprintf("not sent: status %d, errcode %d", resp.StatusCode, said.Errcode) // 43101: not accepted
	}
	return "sent"
}
