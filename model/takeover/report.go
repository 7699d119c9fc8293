package takeover

import (
	"database/sql"
	"fmt"
	"io"
	"slices"
	"strings"

	"shares/model"
)

// findings is what a survey of the rows found to be changed.
type findings struct {
	resumed bool
	rows    int // left to do
	columns []target
	emoji   map[string]int // rows, by column
	nulls   map[string]int // rows, by column
	genders int            // rows whose gender becomes a digit
	emptied int            // rows whose gender means nothing
	kept    []string       // columns that this service does not know
}

func (f *findings) note(w target, v sql.NullString) {
	if !v.Valid {
		f.nulls[w.Name]++
		return
	}
	switch converted := w.convert(v.String); {
	case converted == v.String:
	case w.kind == gender:
		if _, known := genderDigit(v.String); known {
			f.genders++
		} else {
			f.emptied++
		}
	default:
		f.emoji[w.Name]++
	}
}

func (f *findings) print(out io.Writer, dry bool) {
	what, verb := "wx_userinfo is a table of the first system", "become this service's"
	if f.resumed {
		what = "an interrupted takeover of wx_userinfo goes on"
	}
	if dry {
		verb = "would " + verb
	}
	fmt.Fprintf(out, "%s: %d rows %s\n", what, f.rows, verb)
	fmt.Fprintf(out, "  %-14s %d made: everyone logs in again\n", "session_epoch", f.rows)
	for _, w := range f.columns {
		var said []string
		if n := f.nulls[w.Name]; n > 0 {
			said = append(said, fmt.Sprintf("%d NULL to %s", n, w.preset))
		}
		if n := f.emoji[w.Name]; n > 0 {
			said = append(said, fmt.Sprintf("%d with emoji that were stored as text", n))
		}
		if w.kind == gender && f.genders > 0 {
			said = append(said, fmt.Sprintf("%d words to digits", f.genders))
		}
		if w.kind == gender && f.emptied > 0 {
			said = append(said, fmt.Sprintf("%d that mean nothing emptied", f.emptied))
		}
		if len(said) > 0 {
			fmt.Fprintf(out, "  %-14s %s\n", w.Name, strings.Join(said, ", "))
		}
	}
	if len(f.kept) > 0 {
		fmt.Fprintf(out, "  %-14s %s\n", "kept as is", strings.Join(f.kept, ", "))
	}
}

// Refusal says what has to be put right before a table can be taken over. Nothing was changed.
type Refusal struct {
	shape    []string
	troubles []*trouble
}

// trouble is something that is wrong with rows.
type trouble struct {
	what  string
	times int
	ids   []string // the first ones
}

// namedIDs is how many times a Refusal names the rows of a trouble.
const namedIDs = 20

func (r *Refusal) add(format string, args ...any) {
	r.shape = append(r.shape, fmt.Sprintf(format, args...))
}

func (r *Refusal) rows(what, ids string) {
	i := slices.IndexFunc(r.troubles, func(t *trouble) bool { return t.what == what })
	if i < 0 {
		i = len(r.troubles)
		r.troubles = append(r.troubles, &trouble{what: what})
	}
	t := r.troubles[i]
	t.times++
	if t.times <= namedIDs {
		t.ids = append(t.ids, ids)
	}
}

// orNil returns r if there is anything in it.
func (r *Refusal) orNil() error {
	if len(r.shape)+len(r.troubles) == 0 {
		return nil
	}
	return r
}

// Error names each kind of trouble, how often it is there, and the ids of the first rows.
func (r *Refusal) Error() string {
	lines := slices.Clone(r.shape)
	for _, t := range r.troubles {
		line := fmt.Sprintf("%s: %d times, id %s", t.what, t.times, strings.Join(t.ids, ", "))
		if t.times > namedIDs {
			line += ", …"
		}
		lines = append(lines, line)
	}
	return "takeover: nothing was changed; to be put right in wx_userinfo first:\n  " + strings.Join(lines, "\n  ")
}

func wrap(op string, err error) error { return model.Wrap("takeover: "+op, err) }
