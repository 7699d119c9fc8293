package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Load reads the settings from the YAML file at path, if path is not empty, and from environ
// ("NAME=value"), which wins. An empty value counts as not set. Load trims blanks and line breaks
// around a value. The warnings name the trimmed settings and the variables that look like misspelt
// settings. An error names each unknown setting and each setting whose value is not allowed, but no
// value.
func Load(path string, environ []string) (c Config, warnings []string, err error) {
	file, err := readFile(path)
	if err != nil {
		return c, nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	env := make(map[string]string, len(environ))
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	var errs []error
	for f, value := range reflect.ValueOf(&c).Elem().Fields() {
		name, key := f.Tag.Get("env"), strings.ToLower(f.Name)
		text := env[name]
		delete(env, name)
		if strings.TrimSpace(text) == "" {
			name, text = f.Name+" ("+name+")", file[key]
		}
		delete(file, key)
		trimmed := strings.TrimSpace(text)
		if trimmed != text {
			warnings = append(warnings, name+": removed blanks or line breaks around the value")
		}
		if text = cmp.Or(trimmed, f.Tag.Get("default")); text == "" {
			continue
		}
		if err := set(value, f.Tag, text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(file)) {
		errs = append(errs, fmt.Errorf("configuration %s: unknown setting %s", path, key))
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if ours.MatchString(name) && !foreign.MatchString(name+"="+env[name]) {
			warnings = append(warnings, name+": unknown setting (typo?)")
		}
	}
	errs = append(errs, c.splitRedisURL())
	return c, warnings, errors.Join(errs...)
}

// readFile returns the unparsed values in the file by their keys in lower case.
func readFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file map[string]string
	if yaml.Unmarshal(content, &file) != nil { // its error may hold a value
		return nil, errors.New("must be a YAML mapping of single values in which each setting occurs once")
	}
	values := make(map[string]string, len(file))
	for key, value := range file {
		values[strings.ToLower(key)] = value
	}
	return values, nil
}

var (
	// ours matches the variables that no other program uses, unlike MYSQL_ and REDIS_.
	ours = regexp.MustCompile(`^(SHARES|SESSION|WEIXIN|WECHAT|QRCODE)_`)
	// foreign matches a variable of X11 desktops, and variables of Kubernetes and Docker for a
	// service called shares.
	foreign = regexp.MustCompile(`^SESSION_MANAGER=|_SERVICE_(HOST|PORT)|_PORT_\d+_|_PORT=(tcp|udp)://`)
)

// set parses text into the field of a setting. Its error says what is allowed.
func set(field reflect.Value, tag reflect.StructTag, text string) error {
	number, allowed, err := parse(field, text)
	if options := tag.Get("options"); options != "" {
		allowed = strings.ReplaceAll(options, "|", " or ")
		if !slices.Contains(strings.Split(options, "|"), text) {
			err = strconv.ErrRange
		}
	}
	if least, most, bounded := strings.Cut(tag.Get("range"), ":"); bounded {
		allowed += ", at least " + least
		low, high := bound(field, least), math.Inf(1)
		if most != "" {
			allowed += ", at most " + most
			high = bound(field, most)
		}
		if !(low <= number && number <= high) { // also refuses NaN
			err = strconv.ErrRange
		}
	}
	if err == nil {
		return nil
	}
	if strings.HasPrefix(text, "tcp://") {
		allowed += "; the value is from Kubernetes, for a Service of that name: " +
			"set enableServiceLinks: false in the pod"
	}
	return errors.New("must be " + allowed)
}

// bound returns a bound of a range in the unit of the field, which is nanoseconds for a duration.
func bound(field reflect.Value, text string) float64 {
	number, _, _ := parse(reflect.New(field.Type()).Elem(), text)
	return number
}

// parse sets field from text. It returns the number, if the field is one, and what is allowed.
func parse(field reflect.Value, text string) (number float64, allowed string, err error) {
	switch v := field.Addr().Interface().(type) {
	case *bool:
		*v, err = strconv.ParseBool(text)
		return 0, "true or false", err
	case *int:
		*v, err = strconv.Atoi(text)
		return float64(*v), "a whole number", err
	case *float64:
		*v, err = strconv.ParseFloat(text, 64)
		return *v, "a number", err
	case *time.Duration:
		*v, err = time.ParseDuration(text)
		return float64(*v), "a duration such as 500ms or 2h", err
	}
	field.SetString(text)
	return 0, "", nil
}
