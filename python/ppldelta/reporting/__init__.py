"""The report wing: finished frames in, plotly figures and one self-contained HTML file out."""
