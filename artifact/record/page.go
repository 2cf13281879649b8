package record

import "distilvit/storage/layout"

// Page is a stored JSON array that is a part of a longer list. What grows with the number of pictures lies in such
// pages, since neither a payload of Temporal nor the memory of who needs a few entries would hold it.
type Page struct {
	Object  layout.Object `json:"object"`
	Entries int           `json:"entries"`
}

// Entries is how many all of the pages have together.
func Entries(pages []Page) (n int) {
	for _, p := range pages {
		n += p.Entries
	}
	return n
}

func pageObjects(pages ...[]Page) []layout.Object {
	var objects []layout.Object
	for _, list := range pages {
		for _, p := range list {
			objects = append(objects, p.Object)
		}
	}
	return objects
}
