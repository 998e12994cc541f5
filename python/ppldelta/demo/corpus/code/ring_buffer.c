/*
 * ring_buffer.c - a fixed-size byte queue for one producer and one consumer.
 *
 * The capacity is rounded up to a power of two, so that positions can run
 * freely and be reduced with a mask. `head` counts all bytes ever written and
 * `tail` all bytes ever read; their difference is the fill level, which stays
 * correct even after the counters wrap around.
 *
 * The release/acquire pairs below make the buffer safe to share between two
 * threads, as long as only one of them writes and only the other one reads.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ring_buffer {
    unsigned char *bytes;
    size_t mask;
    _Atomic size_t head;
    _Atomic size_t tail;
};

static size_t round_up_pow2(size_t n)
{
    size_t size = 1;

    while (size < n) {
        if (size > SIZE_MAX / 2)
            return 0;
        size *= 2;
    }
    return size;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

bool ring_init(struct ring_buffer *ring, size_t capacity)
{
    size_t size = round_up_pow2(capacity);

    if (capacity == 0 || size == 0)
        return false;
    ring->bytes = malloc(size);
    if (ring->bytes == NULL)
        return false;
    ring->mask = size - 1;
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    return true;
}

void ring_free(struct ring_buffer *ring)
{
    free(ring->bytes);
    ring->bytes = NULL;
    ring->mask = 0;
}

size_t ring_capacity(const struct ring_buffer *ring)
{
    return ring->mask + 1;
}

/* Number of bytes that can be read right now. */
size_t ring_used(struct ring_buffer *ring)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);

    return head - tail;
}

/*
 * Copy up to `count` bytes into the buffer. Returns how many fitted, which
 * may be fewer than asked for; it never blocks and never overwrites.
 */
size_t ring_write(struct ring_buffer *ring, const void *data, size_t count)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    size_t space = ring_capacity(ring) - (head - tail);
    size_t start = head & ring->mask;
    size_t first;

    count = min_size(count, space);
    if (count == 0)
        return 0;

    /* The free area may wrap: fill up to the end, then go on at the front. */
    first = min_size(count, ring_capacity(ring) - start);
    memcpy(ring->bytes + start, data, first);
    memcpy(ring->bytes, (const unsigned char *)data + first, count - first);

    atomic_store_explicit(&ring->head, head + count, memory_order_release);
    return count;
}

/* Look at up to `count` bytes without removing them. Consumer side only. */
size_t ring_peek(struct ring_buffer *ring, void *out, size_t count)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    size_t start = tail & ring->mask;
    size_t first;

    count = min_size(count, head - tail);
    if (count == 0)
        return 0;

    first = min_size(count, ring_capacity(ring) - start);
    memcpy(out, ring->bytes + start, first);
    memcpy((unsigned char *)out + first, ring->bytes, count - first);
    return count;
}

/* Remove up to `count` bytes and copy them to `out`. */
size_t ring_read(struct ring_buffer *ring, void *out, size_t count)
{
    size_t taken = ring_peek(ring, out, count);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    atomic_store_explicit(&ring->tail, tail + taken, memory_order_release);
    return taken;
}
