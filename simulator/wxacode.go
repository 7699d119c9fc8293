package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/makiuchi-d/gozxing/qrcode/decoder"
	"github.com/makiuchi-d/gozxing/qrcode/encoder"
)

// DefaultPage is the page of a code without a page.
const DefaultPage = "pages/index/index"

const (
	maxScene     = 32   // characters
	maxPage      = 1024 // bytes; WeChat documents none, and more does not fit a readable code
	minWidth     = 280  // pixels, as maxWidth and defaultWidth
	maxWidth     = 1280
	defaultWidth = 430
)

var sceneAlphabet = regexp.MustCompile("^[0-9A-Za-z!#$&'()*+,/:;=?@._~-]*$")

// CodeText returns the text in the code of page and scene: the path that the mini program opens,
// "?scene=" and the scene, percent-encoded as in onLoad. An empty page means DefaultPage.
func CodeText(page, scene string) string {
	if page == "" {
		page = DefaultPage
	}
	return page + "?scene=" + url.QueryEscape(scene)
}

// component is a component of a line color, 0 to 255. WeChat accepts it as a number or a decimal
// string.
type component uint8

func (c *component) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseUint(strings.Trim(string(b), `"`), 10, 8)
	if err != nil {
		return errArgs
	}
	*c = component(n)
	return nil
}

type codeRequest struct {
	Scene      any    `json:"scene"` // any type but string gets 40169
	Page       string `json:"page"`
	CheckPath  *bool  `json:"check_path"`
	EnvVersion string `json:"env_version"`
	Width      *int   `json:"width"`
	AutoColor  bool   `json:"auto_color"`
	LineColor  struct {
		R component `json:"r"`
		G component `json:"g"`
		B component `json:"b"`
	} `json:"line_color"`
	IsHyaline bool `json:"is_hyaline"`
}

// unlimitedCode is POST /wxa/getwxacodeunlimit.
func (s *Simulator) unlimitedCode(c *call) (answer, error) {
	s.mu.Lock()
	admitted := s.qrcodes.take(c.now, time.Minute, s.opts.Limits.QRCodesPerMinute)
	s.mu.Unlock()
	if !admitted {
		return answer{}, errQuota
	}
	var req codeRequest
	if err := json.Unmarshal(c.body, &req); err != nil {
		if code := errcode(0); errors.As(err, &code) {
			return answer{}, code
		}
		return answer{}, errDataFormat
	}
	if err := s.checkCode(&req); err != nil {
		return answer{}, err
	}
	return drawCode(&req)
}

func (s *Simulator) checkCode(req *codeRequest) error {
	scene, ok := req.Scene.(string)
	n := utf8.RuneCountInString(scene)
	checkPath := req.CheckPath == nil || *req.CheckPath
	switch {
	case !ok || n < 1 || n > maxScene:
		return errSceneLength
	case !sceneAlphabet.MatchString(scene):
		return errScene
	case !validPage(req.Page):
		return errPage
	case checkPath && req.Page != "" && s.opts.Pages != nil && !slices.Contains(s.opts.Pages, req.Page):
		return errPage
	}
	switch req.EnvVersion {
	case "", "release", "trial", "develop":
	default:
		return errArgs
	}
	if req.Width == nil {
		req.Width = new(int)
		*req.Width = defaultWidth
	}
	if *req.Width < minWidth || *req.Width > maxWidth {
		return errArgs
	}
	return nil
}

// validPage accepts the empty page, and a path without leading slash and query.
func validPage(page string) bool {
	return len(page) <= maxPage && utf8.ValidString(page) && !strings.HasPrefix(page, "/") &&
		!strings.ContainsFunc(page, func(r rune) bool {
			return r == '?' || r == '#' || unicode.IsSpace(r) || unicode.IsControl(r)
		})
}

// drawCode returns a QR code of the requested width: a JPEG on white or, with is_hyaline, a
// transparent PNG. WeChat's own codes are round, but no library reads those. Equal requests return
// equal bytes.
func drawCode(req *codeRequest) (answer, error) {
	text := CodeText(req.Page, req.Scene.(string))
	qr, err := encoder.Encoder_encode(text, decoder.ErrorCorrectionLevel_M, nil)
	if err != nil {
		return answer{}, fmt.Errorf("draw QR code: %w", err)
	}
	const quiet = 4 // modules of the margin
	modules := qr.GetMatrix()
	width, side := *req.Width, modules.GetWidth()+2*quiet
	scale := width / side
	if scale < 1 {
		return answer{}, errPage
	}
	ink := color.RGBA{uint8(req.LineColor.R), uint8(req.LineColor.G), uint8(req.LineColor.B), 255}
	if req.AutoColor {
		ink = color.RGBA{0x1a, 0x6d, 0x3b, 255} // dark green; WeChat would choose a color
	}
	pen := image.NewUniform(ink)
	img := image.NewRGBA(image.Rect(0, 0, width, width))
	if !req.IsHyaline {
		draw.Draw(img, img.Bounds(), image.White, image.Point{}, draw.Src)
	}
	margin := (width-scale*side)/2 + scale*quiet
	for y := range modules.GetHeight() {
		for x := range modules.GetWidth() {
			if modules.Get(x, y) == 1 {
				at := image.Rect(0, 0, scale, scale).Add(image.Pt(margin+x*scale, margin+y*scale))
				draw.Draw(img, at, pen, image.Point{}, draw.Src)
			}
		}
	}
	var buf bytes.Buffer
	encode := func() error { return jpeg.Encode(&buf, img, nil) }
	if req.IsHyaline {
		enc := png.Encoder{CompressionLevel: png.BestSpeed}
		encode = func() error { return enc.Encode(&buf, img) }
	}
	if err := encode(); err != nil {
		return answer{}, fmt.Errorf("encode QR code: %w", err)
	}
	contentType := "image/jpeg"
	if req.IsHyaline {
		contentType = "image/png"
	}
	return answer{contentType: contentType, body: buf.Bytes()}, nil
}
