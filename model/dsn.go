package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// dsnParams describes the allowed values of the driver's parameters, by name.
var dsnParams = map[string]string{
	"loc":                                   "a time zone with %2F for /, such as Asia%2FShanghai",
	"tls":                                   "true, false, skip-verify or preferred",
	"connectionAttributes":                  "a list such as name:value, escaped as in a URL",
	"maxAllowedPacket":                      "a number of bytes",
	"serverPubKey strict charset collation": "left out: the service sets what it needs",
	"timeout readTimeout writeTimeout timeTruncate": "a duration such as 5s",
	"allowAllFiles allowCleartextPasswords allowFallbackToPlaintext allowNativePasswords " +
		"allowOldPasswords checkConnLiveness clientFoundRows columnsWithAlias compress " +
		"interpolateParams multiStatements parseTime rejectReadOnly": "true or false",
}

const dsnForm = "must be user:password@tcp(host:3306)/database"

// parseDSN returns the driver's configuration. Its error names the wrong part and its allowed form,
// but does not quote the DSN, which contains the password.
func parseDSN(dsn string) (*mysql.Config, error) {
	if strings.HasPrefix(dsn, "mysql://") || strings.HasPrefix(dsn, "mariadb://") {
		return nil, errors.New(dsnForm + ", without a scheme in front")
	}
	if !strings.Contains(dsn, "?strict=") && !strings.Contains(dsn, "&strict=") { // they panic
		cfg, err := mysql.ParseDSN(dsn)
		if err == nil && cfg.DBName != "" && (cfg.Net == "tcp" || cfg.Net == "unix") {
			return cfg, nil
		}
	}
	// The address ends with the last ")/". If it is empty, the user and password end with "@/".
	end := max(strings.LastIndex(dsn, ")/"), strings.LastIndex(dsn, "@/"))
	if end < 0 {
		return nil, errors.New("address: must be tcp(host:3306) or unix(path), " +
			"then / and the name of the database")
	}
	database, params, _ := strings.Cut(dsn[end+2:], "?")
	if database == "" {
		return nil, errors.New("database: missing name after the address and /")
	}
	for param := range strings.SplitSeq(params, "&") {
		name, value, found := strings.Cut(param, "=")
		wrong := name == "strict" || strings.Contains(value, "/")
		if found && !wrong {
			_, err := mysql.ParseDSN("tcp(host)/database?" + param)
			wrong = err != nil
		}
		if !wrong {
			continue
		}
		for names, want := range dsnParams {
			if slices.Contains(strings.Fields(names), name) {
				return nil, fmt.Errorf("parameter %s: must be %s", name, want)
			}
		}
		return nil, errors.New("a parameter: must be escaped as in a URL, such as %2F for /")
	}
	return nil, errors.New("user or address: " + dsnForm)
}

// Address returns the host and port, or the socket, of a DSN; "" if the DSN is invalid.
func Address(dsn string) string {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return ""
	}
	return cfg.Addr
}
