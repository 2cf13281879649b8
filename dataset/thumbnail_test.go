package dataset

import "testing"

// picture is side × side pixels of one colour with a square of another at (x, y).
func squareAt(side, x, y int) []byte {
	pixels := make([]byte, side*side*3)
	for row := range side {
		for column := range side {
			i := (row*side + column) * 3
			pixels[i], pixels[i+1], pixels[i+2] = 200, 100, 50
			if row >= y && row < y+side/4 && column >= x && column < x+side/4 {
				pixels[i], pixels[i+1] = 0, 255
			}
		}
	}
	return pixels
}

func TestThumbnailsFindThePictureThatLooksMostAlike(t *testing.T) {
	var all []Thumbnail
	for _, at := range [][2]int{{0, 0}, {40, 8}, {8, 40}, {40, 8}} {
		all = append(all, NewThumbnail(squareAt(64, at[0], at[1])))
	}
	for _, c := range []struct{ side, x, y, want int }{
		{64, 1, 0, 0}, {64, 38, 9, 1}, {64, 8, 38, 2}, {224, 140, 28, 1}, {17, 10, 2, 1}, {8, 1, 5, 2},
	} {
		asked := NewThumbnail(squareAt(c.side, c.x, c.y))
		if got := asked.Nearest(all); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if first := NewThumbnail(squareAt(64, 40, 8)); first.Nearest(all) != 1 || first.Nearest(nil) != -1 {
		t.Error("of equal ones not the first, or something of nothing")
	}
	flat := NewThumbnail(squareAt(64, 64, 64))
	if flat[0] != 200 || flat[1] != 100 || flat[len(flat)-1] != 50 {
		t.Errorf("means of one colour: %v", flat[:3])
	}
}
