package dataset

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math"
	"math/rand/v2"
)

type colour struct {
	name string
	rgb  [3]float64
}

// colours are far apart from each other and from the light backgrounds.
var colours = []colour{
	{"red", [3]float64{215, 30, 35}},
	{"green", [3]float64{35, 145, 50}},
	{"blue", [3]float64{35, 70, 215}},
	{"yellow", [3]float64{235, 200, 20}},
	{"purple", [3]float64{125, 35, 165}},
	{"cyan", [3]float64{30, 195, 215}},
	{"pink", [3]float64{250, 130, 185}},
	{"black", [3]float64{20, 20, 24}},
}

type shape struct {
	name, plural string
	inside       func(x, y float64) bool // in coordinates with y upwards
}

// shapes fill the unit circle.
var shapes = []shape{
	{"circle", "circles", func(x, y float64) bool { return float64(x*x)+float64(y*y) <= 0.92*0.92 }},
	{"square", "squares", func(x, y float64) bool { return math.Abs(x) <= 0.7 && math.Abs(y) <= 0.7 }},
	{"triangle", "triangles", inPolygon(polygon(3, 1, 1))},
	{"star", "stars", inPolygon(polygon(10, 1, 0.42))},
	{"cross", "crosses", func(x, y float64) bool {
		x, y = math.Abs(x), math.Abs(y)
		return x <= 0.29 && y <= 0.95 || y <= 0.29 && x <= 0.95
	}},
}

func pluralOf(shape string) string {
	for _, s := range shapes {
		if s.name == shape {
			return s.plural
		}
	}
	return shape + "s"
}

// polygon answers n corners, the first on top, radii alternating.
func polygon(n int, outer, inner float64) [][2]float64 {
	corners := make([][2]float64, n)
	for i := range corners {
		r := outer
		if i%2 == 1 {
			r = inner
		}
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / float64(n))
		corners[i] = [2]float64{r * sin, r * cos}
	}
	return corners
}

func inPolygon(corners [][2]float64) func(x, y float64) bool {
	return func(x, y float64) bool {
		in := false
		for i, a := range corners {
			b := corners[(i+1)%len(corners)]
			if (a[1] > y) != (b[1] > y) && x < a[0]+float64((y-a[1])*(b[0]-a[0]))/(b[1]-a[1]) {
				in = !in
			}
		}
		return in
	}
}

// placed is an object in the picture; lengths in sides of the picture.
type placed struct {
	x, y, radius, angle float64
	rgb                 [3]float64
	inside              func(x, y float64) bool
}

const (
	minRadius, maxRadius = 0.16, 0.215 // sides

	gap         = 0.02 // around an object, in sides
	supersample = 4    // samples a pixel, each direction
)

// PNG draws the scene, without compression. The same scene makes the same bytes.
func (s *Scene) PNG() ([]byte, error) {
	im, err := s.draw()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.NoCompression}).Encode(&b, im); err != nil {
		return nil, fmt.Errorf("draw scene: %w", err)
	}
	return b.Bytes(), nil
}

func (s *Scene) draw() (*image.NRGBA, error) {
	if s.Side < minSide || s.Side > maxSide || len(s.Objects) < 1 || len(s.Objects) > 3 {
		return nil, fmt.Errorf("scene of %d objects and %d pixels a side: cannot be drawn",
			len(s.Objects), s.Side)
	}
	rng := rand.New(rand.NewPCG(s.Seed, 0))
	objects, err := s.place(rng)
	if err != nil {
		return nil, err
	}
	canvas := background(s.Side, rng)
	for _, o := range objects {
		o.paint(canvas, s.Side)
	}
	im := image.NewNRGBA(image.Rect(0, 0, s.Side, s.Side))
	for i, c := range canvas {
		for j, v := range c {
			im.Pix[4*i+j] = uint8(max(0, min(255, math.Round(v))))
		}
		im.Pix[4*i+3] = 255
	}
	return im, nil
}

// place puts every object into a quarter of its own, a little off its centre, so
// that none touches another.
func (s *Scene) place(rng *rand.Rand) ([]placed, error) {
	quarters := rng.Perm(4)
	objects := make([]placed, len(s.Objects))
	for i, o := range s.Objects {
		p, err := appearance(o, rng)
		if err != nil {
			return nil, err
		}
		p.radius = minRadius + rng.Float64()*(maxRadius-minRadius)
		room := 0.5 - 2*(p.radius+gap)
		p.x = float64(quarters[i]%2)*0.5 + p.radius + gap + rng.Float64()*room
		p.y = float64(quarters[i]/2)*0.5 + p.radius + gap + rng.Float64()*room
		objects[i] = p
	}
	return objects, nil
}

// appearance draws an object's shade and tilt.
func appearance(o Object, rng *rand.Rand) (p placed, err error) {
	for _, c := range colours {
		if c.name == o.Colour {
			for j, v := range c.rgb {
				p.rgb[j] = v + (rng.Float64()-0.5)*24
			}
			for _, s := range shapes {
				if s.name == o.Shape {
					p.inside = s.inside
					p.angle = (rng.Float64() - 0.5) * 0.3
					return p, nil
				}
			}
		}
	}
	return p, fmt.Errorf("scene: cannot draw a %s %s", o.Colour, o.Shape)
}

// background is a light tint with a slope and a little noise, side*side pixels.
func background(side int, rng *rand.Rand) [][3]float64 {
	var base, slopeX, slopeY [3]float64
	level := 222 + rng.Float64()*26
	for j := range base {
		base[j] = level + (rng.Float64()-0.5)*14
		slopeX[j], slopeY[j] = (rng.Float64()-0.5)*14, (rng.Float64()-0.5)*14
	}
	canvas := make([][3]float64, side*side)
	for i := range canvas {
		u, v := float64(i%side)/float64(side)-0.5, float64(i/side)/float64(side)-0.5
		noise := (rng.Float64() - 0.5) * 6
		for j := range base {
			canvas[i][j] = base[j] + float64(slopeX[j]*u) + float64(slopeY[j]*v) + noise
		}
	}
	return canvas
}

// paint mixes the object in by the share of each pixel that it covers.
func (p placed) paint(canvas [][3]float64, side int) {
	n := float64(side)
	sin, cos := math.Sincos(p.angle)
	reach := (p.radius + 1/n) * (p.radius + 1/n) // squared
	x0, x1 := int((p.x-p.radius)*n)-1, int((p.x+p.radius)*n)+2
	y0, y1 := int((p.y-p.radius)*n)-1, int((p.y+p.radius)*n)+2
	for y := max(0, y0); y < min(side, y1); y++ {
		for x := max(0, x0); x < min(side, x1); x++ {
			dx, dy := (float64(x)+0.5)/n-p.x, (float64(y)+0.5)/n-p.y
			if float64(dx*dx)+float64(dy*dy) > reach {
				continue
			}
			hits := 0
			for k := range supersample * supersample {
				u := ((float64(x)+(float64(k%supersample)+0.5)/supersample)/n - p.x) / p.radius
				v := (p.y - (float64(y)+(float64(k/supersample)+0.5)/supersample)/n) / p.radius
				if p.inside(float64(u*cos)-float64(v*sin), float64(u*sin)+float64(v*cos)) {
					hits++
				}
			}
			cover := float64(hits) / (supersample * supersample)
			for j := range p.rgb {
				c := &canvas[y*side+x][j]
				*c += float64((p.rgb[j] - *c) * cover)
			}
		}
	}
}
