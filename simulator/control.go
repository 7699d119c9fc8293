package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const controlPrefix = "/simulator/"

// Control returns the handler of the control paths, all JSON in and out:
//
//	POST   /simulator/code          {"user":"alice","unionid":true,"blocked":false}   → {"code":"…"}; unionid also as a string
//	POST   /simulator/phone_code    {"phone":"13800138000","appid":""}                → {"code":"…"}
//	POST   /simulator/faults        {"endpoint":"*","kind":"errcode","errcode":45009,"errmsg":"","status":0,"delay_ms":0,"times":1}
//	                                                                                  → {"faults":[…]}
//	DELETE /simulator/faults                                                          → {"faults":[]}
//	POST   /simulator/rotate_token                                                    → {}
//	POST   /simulator/push          {"user":"alice","event":"user_authorization_revoke","fields":{"RevokeInfo":"6"},"mode":"safe","xml":false}
//	                                                                                  → {"answers":[{"status":200,"body":"success"}]}
//	GET    /simulator/stats         → {"calls":{…},"faults":[…],"endpoints":[…],"kinds":[…]}
//
// A refused request gets HTTP 400, 404, 405 or 413 with {"error":"…"}.
func (s *Simulator) Control() http.Handler { return s.control }

type controlError struct {
	status int
	text   string
}

func (e *controlError) Error() string { return e.text }

func badRequest(text string) error { return &controlError{http.StatusBadRequest, text} }

// controlHandler routes by path, then by method, so that every refusal is JSON.
func (s *Simulator) controlHandler() http.Handler {
	type methods map[string]func(http.ResponseWriter, *http.Request) (any, error)
	routes := map[string]methods{
		"code":         {http.MethodPost: s.postCode},
		"phone_code":   {http.MethodPost: s.postPhoneCode},
		"faults":       {http.MethodPost: s.postFault, http.MethodDelete: s.deleteFaults},
		"rotate_token": {http.MethodPost: s.postRotate},
		"push":         {http.MethodPost: s.postPush},
		"stats":        {http.MethodGet: s.getStats},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, ok := routes[strings.TrimPrefix(r.URL.Path, controlPrefix)]
		if !ok {
			writeControl(w, nil, &controlError{http.StatusNotFound, "no such path"})
			return
		}
		handle, ok := route[r.Method]
		if !ok {
			writeControl(w, nil, &controlError{http.StatusMethodNotAllowed, "no such method for this path"})
			return
		}
		v, err := handle(w, r)
		writeControl(w, v, err)
	})
}

func writeControl(w http.ResponseWriter, v any, err error) {
	a := answer{contentType: "application/json; charset=utf-8"}
	if err != nil {
		refusal := &controlError{http.StatusInternalServerError, "internal error"}
		errors.As(err, &refusal)
		a.status, v = refusal.status, struct {
			Error string `json:"error"`
		}{refusal.text}
	}
	body, err := json.Marshal(v)
	if err != nil {
		a.status, body = http.StatusInternalServerError, []byte("{}")
	}
	a.body = append(body, '\n')
	w.Header().Set("Cache-Control", "no-store")
	a.write(w)
}

// readControl decodes the body strictly: one JSON object, no unknown fields, at most maxBody bytes.
func readControl(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil && dec.More() {
		err = errors.New("more than one value")
	}
	switch tooLarge := (*http.MaxBytesError)(nil); {
	case errors.As(err, &tooLarge):
		return &controlError{http.StatusRequestEntityTooLarge, "body too large"}
	case err != nil:
		return badRequest("body: not valid JSON, or an unknown field")
	}
	return nil
}

type codeBody struct {
	Code string `json:"code"`
}

func (s *Simulator) postCode(w http.ResponseWriter, r *http.Request) (any, error) {
	var req struct {
		User    string `json:"user"`
		UnionID any    `json:"unionid"`
		Blocked bool   `json:"blocked"`
	}
	if err := readControl(w, r, &req); err != nil {
		return nil, err
	}
	if req.User == "" || len(req.User) > 128 {
		return nil, badRequest("user: 1 to 128 bytes")
	}
	var opts []CodeOption
	switch id := req.UnionID.(type) {
	case nil:
	case bool:
		if id {
			opts = append(opts, WithUnionID(""))
		}
	case string:
		if id == "" || len(id) > 128 {
			return nil, badRequest("unionid: true, or 1 to 128 bytes")
		}
		opts = append(opts, WithUnionID(id))
	default:
		return nil, badRequest("unionid: must be true or a string")
	}
	if req.Blocked {
		opts = append(opts, Blocked())
	}
	return codeBody{s.Code(req.User, opts...)}, nil
}

func (s *Simulator) postPhoneCode(w http.ResponseWriter, r *http.Request) (any, error) {
	var req struct {
		Phone string `json:"phone"`
		AppID string `json:"appid"`
	}
	if err := readControl(w, r, &req); err != nil {
		return nil, err
	}
	if _, _, ok := parsePhone(req.Phone); !ok {
		return nil, badRequest(`phone: a mainland number, or "+852 61234567"`)
	}
	if req.AppID == "" {
		return codeBody{s.PhoneCode(req.Phone)}, nil
	}
	if len(req.AppID) > 128 {
		return nil, badRequest("appid: at most 128 bytes")
	}
	return codeBody{s.AppPhoneCode(req.AppID, req.Phone)}, nil
}

type faultBody struct {
	Endpoint string    `json:"endpoint"`
	Kind     FaultKind `json:"kind"`
	Errcode  int       `json:"errcode,omitempty"`
	Errmsg   string    `json:"errmsg,omitempty"`
	Status   int       `json:"status,omitempty"`
	DelayMS  int64     `json:"delay_ms,omitempty"`
	Times    int       `json:"times,omitempty"`
}

type faultsBody struct {
	Faults []faultBody `json:"faults"`
}

func (s *Simulator) postFault(w http.ResponseWriter, r *http.Request) (any, error) {
	var req faultBody
	if err := readControl(w, r, &req); err != nil {
		return nil, err
	}
	if req.DelayMS < 0 || req.DelayMS > maxDelay.Milliseconds() {
		return nil, badRequest(fmt.Sprintf("delay_ms: must be 0 to %d", maxDelay.Milliseconds()))
	}
	err := s.trySetFault(req.Endpoint, Fault{
		Kind:    req.Kind,
		Errcode: req.Errcode,
		Errmsg:  req.Errmsg,
		Status:  req.Status,
		Delay:   time.Duration(req.DelayMS) * time.Millisecond,
		Times:   req.Times,
	})
	if err != nil {
		return nil, badRequest(err.Error())
	}
	return faultsBody{s.faultList()}, nil
}

func (s *Simulator) deleteFaults(http.ResponseWriter, *http.Request) (any, error) {
	s.ClearFaults()
	return faultsBody{s.faultList()}, nil
}

// faultList returns Faults in a stable order.
func (s *Simulator) faultList() []faultBody {
	faults := s.Faults()
	list := make([]faultBody, 0, len(faults))
	for _, endpoint := range append([]string{allEndpoints}, s.Endpoints()...) {
		if f, ok := faults[endpoint]; ok {
			list = append(list, faultBody{endpoint, f.Kind, f.Errcode, f.Errmsg, f.Status, f.Delay.Milliseconds(), f.Times})
		}
	}
	return list
}

func (s *Simulator) postRotate(http.ResponseWriter, *http.Request) (any, error) {
	s.RotateToken()
	return struct{}{}, nil
}

func (s *Simulator) getStats(http.ResponseWriter, *http.Request) (any, error) {
	return struct {
		Calls     map[string]int `json:"calls"`
		Faults    []faultBody    `json:"faults"`
		Endpoints []string       `json:"endpoints"`
		Kinds     []FaultKind    `json:"kinds"`
	}{s.Calls(), s.faultList(), s.Endpoints(), FaultKinds()}, nil
}
