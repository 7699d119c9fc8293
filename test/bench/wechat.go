package main

import (
	"fmt"
	"net/http"

	"shares/simulator"
)

// instantWechat returns a WeChat that answers logins immediately: the login code is the openid. The
// simulator answers everything else.
func instantWechat() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sns/jscode2session", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"session_key":"5tF5KuDigyB6e4m7FigHvw==","openid":%q}`, r.FormValue("js_code"))
	})
	mux.Handle("/", simulator.New(simulator.Options{}))
	return mux
}
