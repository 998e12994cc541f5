// A dense row-major matrix with just enough linear algebra to solve systems.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>
#include <utility>
#include <vector>

namespace linalg {

class Matrix {
public:
    Matrix(std::size_t rows, std::size_t cols, double fill = 0.0)
        : rows_(rows), cols_(cols), cells_(rows * cols, fill) {}

    Matrix(std::initializer_list<std::initializer_list<double>> rows)
        : rows_(rows.size()), cols_(rows.size() ? rows.begin()->size() : 0) {
        cells_.reserve(rows_ * cols_);
        for (const auto& row : rows) {
            if (row.size() != cols_) {
                throw std::invalid_argument("rows differ in length");
            }
            cells_.insert(cells_.end(), row.begin(), row.end());
        }
    }


    std::size_t rows() const { return rows_; }
    std::size_t cols() const { return cols_; }

    double& operator()(std::size_t r, std::size_t c) { return cells_[r * cols_ + c]; }
    double operator()(std::size_t r, std::size_t c) const { return cells_[r * cols_ + c]; }

    void swap_rows(std::size_t a, std::size_t b) {
        if (a == b) return;
        auto first = cells_.begin() + static_cast<std::ptrdiff_t>(a * cols_);
        auto other = cells_.begin() + static_cast<std::ptrdiff_t>(b * cols_);
        std::swap_ranges(first, first + static_cast<std::ptrdiff_t>(cols_), other);
    }

private:
    std::size_t rows_;
    std::size_t cols_;
    std::vector<double> cells_;
};

Matrix operator*(const Matrix& left, const Matrix& right) {
    if (left.cols() != right.rows()) {
        throw std::invalid_argument("inner dimensions differ");
    }
    Matrix result(left.rows(), right.cols());
    // The loop order walks both operands along their rows, which is kind to
    // the cache.
    for (std::size_t i = 0; i < left.rows(); ++i) {
        for (std::size_t k = 0; k < left.cols(); ++k) {
            const double factor = left(i, k);
            for (std::size_t j = 0; j < right.cols(); ++j) {
                result(i, j) += factor * right(k, j);
            }
        }
    }
    return result;
}

// Solve a * x = b by Gaussian elimination with partial pivoting. Both
// arguments are taken by value because the work happens in place.
Matrix solve(Matrix a, Matrix b) {
    const std::size_t n = a.rows();
    if (a.cols() != n || b.rows() != n) {
        throw std::invalid_argument("solve needs a square system");
    }
    for (std::size_t col = 0; col < n; ++col) {
        std::size_t pivot = col;
        for (std::size_t r = col + 1; r < n; ++r) {
            if (std::abs(a(r, col)) > std::abs(a(pivot, col))) pivot = r;
        }
        if (std::abs(a(pivot, col)) < 1e-12) {
            throw std::domain_error("matrix is singular");
        }
        a.swap_rows(pivot, col);
        b.swap_rows(pivot, col);
        for (std::size_t r = col + 1; r < n; ++r) {
            const double factor = a(r, col) / a(col, col);
            for (std::size_t c = col; c < n; ++c) a(r, c) -= factor * a(col, c);
            for (std::size_t c = 0; c < b.cols(); ++c) b(r, c) -= factor * b(col, c);
        }
    }
    for (std::size_t row = n; row-- > 0;) {
        for (std::size_t c = 0; c < b.cols(); ++c) {
            double sum = b(row, c);
            for (std::size_t k = row + 1; k < n; ++k) sum -= a(row, k) * b(k, c);
            b(row, c) = sum / a(row, row);
        }
    }
    return b;
}

}  // namespace linalg
