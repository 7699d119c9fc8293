// Command openapi completes what goctl makes of shares.api: every body is
// JSON, but that of an upload, sessions travel as a header or a cookie, and every operation lists the
// errors of the catalogue. `make gen` runs it; nothing else does.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/api/internal/upload"
	"shares/internal/reason"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: openapi FILE")
		os.Exit(2)
	}
	if err := complete(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

type object = map[string]any

func complete(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc object
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	delete(doc, "x-date") // goctl stamps the day
	for key := range doc {
		if strings.HasPrefix(key, "x-") {
			delete(doc, key)
		}
	}
	doc["schemes"] = []string{"http", "https"}
	doc["definitions"] = object{"Error": object{
		"type":     "object",
		"required": []string{"code", "msg"},
		"properties": object{
			"code": object{"type": "integer", "description": "错误码"},
			"msg":  object{"type": "string", "description": "可以直接展示给用户的文字（Accept-Language: en 时为英文）"},
		},
	}}
	doc["securityDefinitions"] = object{
		"bearer": object{"type": "apiKey", "in": "header", "name": "Authorization", "description": "Bearer <sessionId>"},
		"cookie": object{"type": "apiKey", "in": "header", "name": "Cookie", "description": session.CookieName + "=<sessionId>"},
	}
	paths, _ := doc["paths"].(object)
	for path, methods := range paths {
		operations, _ := methods.(object)
		for _, op := range operations {
			operation, ok := op.(object)
			if !ok {
				return fmt.Errorf("%s: not an operation", path)
			}
			completeOperation(path, operation)
		}
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}

func completeOperation(path string, operation object) {
	operation["consumes"] = []string{"application/json"}
	foreign := []reason.Reason{reason.NotMultipart} // what this operation never answers
	if strings.HasSuffix(path, "weixin.upload_avatar") {
		foreign = []reason.Reason{reason.UnsupportedMedia, reason.MalformedBody}
		operation["consumes"] = []string{"multipart/form-data"}
		operation["parameters"] = []object{{
			"name": "file", "in": "formData", "type": "file", "required": true,
			"description": fmt.Sprintf("PNG、JPEG 或 WebP 静态图片，最大 %d MiB，1200 万像素", upload.MaxFile>>20),
		}}
	}
	delete(operation, "schemes")
	if !strings.HasSuffix(path, "weixin.oauth") {
		operation["security"] = []object{{"bearer": []string{}}, {"cookie": []string{}}}
	}
	responses, _ := operation["responses"].(object)
	lines := map[string][]string{}
	for _, row := range answer.Table() {
		if slices.Contains(foreign, row.Reason) {
			continue
		}
		status := strconv.Itoa(row.Status)
		lines[status] = append(lines[status], fmt.Sprintf("%d %s：%s / %s", row.Code, row.Reason, row.Chinese, row.English))
	}
	for status, texts := range lines {
		responses[status] = object{
			"description": strings.Join(texts, "\n"),
			"schema":      object{"$ref": "#/definitions/Error"},
		}
	}
}
