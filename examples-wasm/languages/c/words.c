/* Counts lines, words and bytes of its input, like `wc`: plain C for WASI 0.1. */

#include <ctype.h>
#include <stdio.h>

int main(void) {
    unsigned long lines = 0, words = 0, bytes = 0;
    int in_word = 0;
    for (int byte = getchar(); byte != EOF; byte = getchar()) {
        bytes++;
        lines += byte == '\n';
        words += !isspace(byte) && !in_word;
        in_word = !isspace(byte);
    }
    printf("%lu %lu %lu\n", lines, words, bytes);
    return 0;
}
