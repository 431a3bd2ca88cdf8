// Which triangles of a scene's meshes can reach a pixel of one picture. See thinning.py for the idea and the proof.
//
// Positions are in pixels, x to the right and y up from the picture's lower left corner. `q` is one over the distance
// along the camera's view: it is linear in the picture, and larger is nearer.

#include <math.h>
#include <stdint.h>
#include <string.h>

// What a rasteriser may move a corner by (pixels): OpenGL rounds to single precision and to 1/256 of a pixel.
static const float MARGIN = 1.0f / 64.0f;
// Relative difference of q below which two depths count as one.
static const float DEPTH_MARGIN = 1e-4f;
enum { MAX_SAMPLES = 16, LANES = 4 };

typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t Flags __attribute__((vector_size(4 * LANES)));

typedef struct {
    int32_t first_vertex, vertex_count, first_face, face_count;
    int32_t winding;   // 1: front faces run counter-clockwise in the picture; -1: clockwise, as seen in a mirror
    int32_t occludes;  // drawn opaque into the picture itself: hides what is behind, and may be hidden
    float window[12];  // 3 x 4: a vertex to (x q^-1, y q^-1, q^-1)
} Geom;

typedef struct {
    const float *samples;  // [sample_count][2] positions in a pixel
    int sample_count, size;  // at most MAX_SAMPLES
    float near, far;  // what is nearer or farther than these may be clipped
    float *depth;     // [sample_count][size][size] the q that every pixel's sample surely reaches
} Picture;

typedef struct {
    int lanes;
    Lanes x[MAX_SAMPLES / LANES], y[MAX_SAMPLES / LANES];
} Samples;

// The corners of a geom's triangles, one per vertex of its mesh. q = 0: nearer than `near`; q = -1: behind the eye.
typedef struct {
    float *restrict x, *restrict y, *restrict q;
} Corners;

typedef enum { HIDDEN, POSSIBLE, CERTAIN } Fate;

static void project(const Geom *geom, float near, const float *restrict vertices, Corners corners) {
    const float *m = geom->window;
    const float *restrict v = vertices + 3 * (int64_t)geom->first_vertex;
    for (int i = 0; i < geom->vertex_count; i++) {
        const float vx = v[3 * i], vy = v[3 * i + 1], vz = v[3 * i + 2];
        const float w = m[8] * vx + m[9] * vy + m[10] * vz + m[11];
        const float q = 1.0f / w, behind = w > 0.0f ? 0.0f : -1.0f;
        corners.x[i] = (m[0] * vx + m[1] * vy + m[2] * vz + m[3]) * q;
        corners.y[i] = (m[4] * vx + m[5] * vy + m[6] * vz + m[7]) * q;
        corners.q[i] = w > near ? q : behind;
    }
}

// Written out, since the C library's versions are calls: they mind NaN and are most of the time spent here.
static inline float least(float a, float b) { return a < b ? a : b; }
static inline float most(float a, float b) { return a > b ? a : b; }
static inline float least3(float a, float b, float c) { return least(a, least(b, c)); }
static inline float most3(float a, float b, float c) { return most(a, most(b, c)); }
// For 0 <= x.
static inline int round_up(float x) { return (int)x + ((float)(int)x < x); }

static inline Lanes round_up_lanes(Lanes x) {
    const Lanes whole = __builtin_convertvector(__builtin_convertvector(x, Flags), Lanes);
    return whole - __builtin_convertvector(whole < x, Lanes);  // a true comparison is -1
}

// Whether any pixel's sample lies in the box. Most triangles are smaller than a pixel and miss them all, so this comes
// first, without branches.
static inline int holds_sample(const Samples *samples, float left, float right, float low, float high) {
    Flags any = {0};
    for (int i = 0; i < samples->lanes; i++) {
        const Lanes x = samples->x[i] + round_up_lanes(left - samples->x[i]);
        const Lanes y = samples->y[i] + round_up_lanes(low - samples->y[i]);
        any |= (x <= right) & (y <= high);
    }
    return (any[0] | any[1] | any[2] | any[3]) != 0;
}

// With `mark`, notes the depth of what the triangle surely covers. Returns what can be said of the triangle: HIDDEN,
// whatever the rasteriser's rounding; CERTAIN to be kept; or POSSIBLE: what stands before it decides.
static Fate cover(const int32_t *face, Corners corners, const Geom *geom, const Picture *picture,
                  const Samples *samples, int mark) {
    const float ax = corners.x[face[0]], ay = corners.y[face[0]], aq = corners.q[face[0]];
    const float bx = corners.x[face[1]], by = corners.y[face[1]], bq = corners.q[face[1]];
    const float cx = corners.x[face[2]], cy = corners.y[face[2]], cq = corners.q[face[2]];
    if (least3(aq, bq, cq) <= 0.0f) return most3(aq, bq, cq) < 0.0f ? HIDDEN : CERTAIN;
    const float left = least3(ax, bx, cx) - MARGIN, right = most3(ax, bx, cx) + MARGIN;
    const float low = least3(ay, by, cy) - MARGIN, high = most3(ay, by, cy) + MARGIN;
    const float side = (float)picture->size;
    const int outside = (right < 0.0f) | (high < 0.0f) | (left > side) | (low > side);
    const float ux = bx - ax, uy = by - ay, vx = cx - ax, vy = cy - ay;
    const float area = ux * vy - uy * vx, facing = geom->winding * area;
    const float extent = (right - left) + (high - low);
    const int turned_away = facing < -2.0f * MARGIN * extent;
    if (outside | turned_away | !holds_sample(samples, left, right, low, high)) return HIDDEN;

    // Signed distances from the three edges, times the edges' lengths: positive inside.
    const float turn = area < 0.0f ? -1.0f : 1.0f;
    const float wx = vx - ux, wy = vy - uy;
    const float slack_u = MARGIN * (fabsf(ux) + fabsf(uy)), slack_v = MARGIN * (fabsf(vx) + fabsf(vy)),
                slack_w = MARGIN * (fabsf(wx) + fabsf(wy));

    // Depth is compared only where it is well determined: not on slivers, nor on what may be clipped.
    const int measurable = geom->occludes && facing > 4.0f * MARGIN * extent && left >= 0.0f && low >= 0.0f &&
                           right <= side && high <= side && least3(aq, bq, cq) * picture->far > 1.0f;
    const float qx = measurable ? ((bq - aq) * vy - (cq - aq) * uy) / area : 0.0f;
    const float qy = measurable ? ((cq - aq) * ux - (bq - aq) * vx) / area : 0.0f;
    const float slack_q = MARGIN * (fabsf(qx) + fabsf(qy)) + DEPTH_MARGIN * most3(aq, bq, cq);

    Fate fate = HIDDEN;
    for (int s = 0; s < picture->sample_count; s++) {
        const float sx = picture->samples[2 * s], sy = picture->samples[2 * s + 1];
        if (right < sx || high < sy) continue;
        const int first_column = round_up(most(0.0f, left - sx)), first_row = round_up(most(0.0f, low - sy));
        const int last_column = (int)least(side - 1.0f, right - sx), last_row = (int)least(side - 1.0f, high - sy);
        for (int row = first_row; row <= last_row; row++) {
            float *depth = picture->depth + ((int64_t)s * picture->size + row) * picture->size;
            for (int column = first_column; column <= last_column; column++) {
                const float x = column + sx - ax, y = row + sy - ay;
                const float inside_u = turn * (ux * y - uy * x), inside_v = turn * (vy * x - vx * y);
                const float inside_w = turn * (wx * (y - uy) - wy * (x - ux));
                if (inside_u < -slack_u || inside_v < -slack_v || inside_w < -slack_w) continue;
                if (!measurable) return CERTAIN;
                const float q = aq + qx * x + qy * y;
                if (q + slack_q < depth[column]) continue;
                fate = POSSIBLE;
                if (mark && inside_u > slack_u && inside_v > slack_v && inside_w > slack_w)
                    depth[column] = most(depth[column], q - slack_q);
            }
        }
    }
    return fate;
}

static Corners after(Corners corners, int count) {
    return (Corners){corners.x + count, corners.y + count, corners.q + count};
}

// The last samples fill what is left of the lanes.
static Samples in_lanes(const Picture *picture) {
    Samples samples = {.lanes = (picture->sample_count + LANES - 1) / LANES};
    for (int i = 0; i < samples.lanes * LANES; i++) {
        const int s = i < picture->sample_count ? i : picture->sample_count - 1;
        samples.x[i / LANES][i % LANES] = picture->samples[2 * s];
        samples.y[i / LANES][i % LANES] = picture->samples[2 * s + 1];
    }
    return samples;
}

// For each geom and its faces [first_face, first_face + face_count): sets kept[face] = 1 where the triangle may reach a
// pixel; leaves it as it is otherwise. `depth` comes in as zeros. `scratch` has room for 3 numbers for each of the
// `vertex_count` vertices of all geoms, `waiting` for one for each of their faces and for each geom.
void hone_thin(int geom_count, const Geom *geoms, const Picture *picture, const float *vertices,
               const int32_t *faces, int vertex_count, float *scratch, int32_t *waiting, uint8_t *kept) {
    const Samples samples = in_lanes(picture);
    const Corners start = {scratch, scratch + vertex_count, scratch + 2 * (int64_t)vertex_count};
    Corners own = start;
    int32_t *undecided = waiting;
    for (int g = 0; g < geom_count; own = after(own, geoms[g].vertex_count), g++) {
        project(&geoms[g], picture->near, vertices, own);
        int32_t *count = undecided++;
        *count = 0;
        for (int face = geoms[g].first_face; face < geoms[g].first_face + geoms[g].face_count; face++) {
            const int32_t *f = faces + 3 * (int64_t)face;
            const Fate fate = cover(f, own, &geoms[g], picture, &samples, 1);
            if (fate == CERTAIN) kept[face] = 1;
            if (fate == POSSIBLE) *undecided++ = face, ++*count;
        }
    }
    own = start;
    undecided = waiting;
    for (int g = 0; g < geom_count; own = after(own, geoms[g].vertex_count), g++) {
        for (int32_t left = *undecided++; left > 0; left--) {
            const int32_t face = *undecided++;
            const int32_t *f = faces + 3 * (int64_t)face;
            if (!kept[face] && cover(f, own, &geoms[g], picture, &samples, 0) != HIDDEN)
                kept[face] = 1;
        }
    }
}

// Copies the kept faces' rows of `from` [count][3] to the front of `to`, three tables at a time; returns their number.
int hone_pack(int count, const uint8_t *kept, const int32_t *const from[3], int32_t *const to[3]) {
    int rows = 0;
    for (int i = 0; i < count; i++) {
        uint64_t eight;
        while (i + 8 <= count && (memcpy(&eight, kept + i, 8), eight == 0)) i += 8;
        if (i >= count) break;
        if (!kept[i]) continue;
        for (int table = 0; table < 3; table++)
            memcpy(to[table] + 3 * (int64_t)rows, from[table] + 3 * (int64_t)i, 3 * sizeof(int32_t));
        rows++;
    }
    return rows;
}
