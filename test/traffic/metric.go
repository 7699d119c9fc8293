package traffic

import (
	"fmt"
	"strconv"
	"strings"
)

// Metric returns the sum of the samples on a page of metrics whose lines begin with prefix. End a
// name without labels with a blank. It is an error if there is no such sample.
func Metric(page, prefix string) (float64, error) {
	sum, found := 0.0, false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, prefix) {
			n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndex(line, " "):]), 64)
			if err != nil {
				return 0, err
			}
			sum += n
			found = true
		}
	}
	if !found {
		return 0, fmt.Errorf("no metric %s", prefix)
	}
	return sum, nil
}
